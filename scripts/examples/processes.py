"""Processes, threads and tasks of every kind record with one module-level log. There is nothing to
configure, nothing to pass to a child, and nothing to call at its end.

    HANSARD_DIR=./audit python scripts/examples/processes.py
"""

import asyncio
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import hansard

log = hansard.AuditLog()  # where HANSARD_DIR says; a child that imports this module has its own

EACH = 50


def work(name: str) -> str:
    for i in range(EACH):
        log.record("work.done", {"who": name, "i": i}, task_id=name)
    return name


async def work_in_tasks(name: str) -> str:
    async with asyncio.TaskGroup() as group:
        for i in range(EACH):
            group.create_task(log.arecord("work.done", {"who": name, "i": i}, task_id=name))
    return name


def main() -> None:
    names = [work("main")]
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        child = context.Process(target=work, args=(f"{method} process",))
        child.start()
        child.join()
        names.append(f"{method} process")
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            names += pool.map(work, [f"{method} pool {i}" for i in range(2)])
    with ThreadPoolExecutor(2) as pool:
        names += pool.map(work, ["thread 0", "thread 1"])
    names.append(asyncio.run(work_in_tasks("asyncio")))
    print("\n".join(names))


if __name__ == "__main__":
    main()
