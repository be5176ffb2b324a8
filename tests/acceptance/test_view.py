"""`hansard view` in headless Chromium: what somebody sees who looks at the record."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hansard
import viewed
from hansard.reader import LogReader
from hansard_writer.viewing.listening import pointer_to
from viewed import View

sync_api = pytest.importorskip("playwright.sync_api")

CHROMIUM = Path("/usr/bin/chromium")
PAGES = (
    "/",
    "/entries",
    "/entries?q=file",
    "/operations",
    "/refusals",
    "/dead-letters",
    "/dead-letters/1",
    "/rates",
    "/task?id=T1",
    "/entry/9",
    "/log",
    "/log?sql=select+*+from+events",
    "/nothing",
)

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no Chromium here")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of everything, whose writer has stopped."""
    directory = tmp_path_factory.mktemp("viewed") / "log"
    viewed.fill(directory)
    return directory


@pytest.fixture(scope="module")
def view(log: Path) -> Iterator[View]:
    with viewed.view("--dir", log) as viewing:
        yield viewing


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Seen:
    """A tab of a browser that has the token; and what it asked others for, and complained about."""

    def __init__(self, view: View, browser: Any, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.view = view
        self.asked_elsewhere: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", self._note)
        self.page.on("console", lambda said: self._complain(said.type, said.text))
        self.page.on("pageerror", lambda error: self._complain("error", str(error)))
        self.page.goto(view.opened)
        self.page.wait_for_url(f"{view.url}/")

    def _note(self, request: Any) -> None:
        if not request.url.startswith(self.view.url):
            self.asked_elsewhere.append(request.url)

    def _complain(self, kind: str, text: str) -> None:
        if kind == "error" and "404" not in text and "400" not in text:
            self.complaints.append(text)

    def go(self, path: str) -> Any:
        self.page.goto(self.view.url + path)
        return self.page


@pytest.fixture(scope="module")
def tab(view: View, browser: Any) -> Iterator[Seen]:
    tab = Seen(view, browser)
    yield tab
    tab.context.close()


@pytest.fixture
def seen(tab: Seen) -> Iterator[Seen]:
    """The tab that the tests share; each asks nobody else for anything, and breaks no policy."""
    yield tab
    assert tab.asked_elsewhere == []
    assert tab.complaints == []


def test_the_token_is_in_the_address_once_and_in_a_cookie_then(seen: Seen) -> None:
    seen.page.goto(seen.view.opened)
    seen.page.wait_for_url(f"{seen.view.url}/")
    (cookie,) = seen.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert seen.view.token not in cookie["value"]


def test_who_has_a_wrong_token_is_told_how_to_get_in(view: View, browser: Any) -> None:
    context = browser.new_context()
    page = context.new_page()
    answer = page.goto(f"{view.url}/-/open?token=wrong")
    assert answer.status == 401
    assert "hansard view" in page.inner_text("main")
    page.fill("input[name=token]", view.token)
    page.click("button")
    page.wait_for_url(f"{view.url}/")
    context.close()


def test_a_file_that_open_makes_leads_in_without_a_token_on_a_command_line(
    view: View, browser: Any, tmp_path: Path
) -> None:
    pointer = pointer_to(view.opened, tmp_path)
    assert view.token not in pointer
    assert (tmp_path / "hansard-view.html").stat().st_mode & 0o077 == 0
    context = browser.new_context()
    page = context.new_page()
    page.goto(pointer)
    page.wait_for_url(f"{view.url}/")
    assert page.inner_text("h2").endswith(("Intact", "verified", "Not verified yet"))
    context.close()


def test_at_the_top_stands_what_was_verified_up_to_where_and_when(seen: Seen) -> None:
    report = seen.view.verified()["report"]
    page = seen.go("/")
    text = page.inner_text("#verification")
    assert "Intact" in text
    assert f"up to {report['size']}" in text
    assert re.search(r"Verified \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", text)
    assert f"verified up to {report['size']}" in page.inner_text(".which")


def test_a_search_leads_to_an_entry_and_on_to_its_task(seen: Seen) -> None:
    page = seen.go("/")
    page.keyboard.press("/")
    page.keyboard.type("missing_colon")
    page.keyboard.press("Enter")
    page.wait_for_url("**/entries?q=missing_colon")
    assert page.locator("td.excerpt mark").count() > 0
    page.locator("td.seq a").first.click()
    assert page.inner_text("h1").startswith("Entry ")
    task = page.locator("a.task").inner_text()
    page.locator("a.task").click()
    assert page.inner_text("h1") == f"Task {task}"
    assert page.locator("ol.timeline li").count() == 16  # with its registration


def test_an_entry_is_shown_with_its_neighbours_and_its_payload(seen: Seen, log: Path) -> None:
    with LogReader(log) as reader:
        first, second, third = list(reader.by_task("T1"))[1:4]
    page = seen.go(f"/entry/{second.id}")
    assert page.locator(f"a[href='/entry/{first.id}']").is_visible()
    assert page.locator(f"a[href='/entry/{third.id}']").is_visible()
    beside = page.locator(".head .beside a").evaluate_all(
        "links => links.map(each => each.pathname)"
    )
    assert beside == [f"/entry/{second.id - 1}", f"/entry/{second.id + 1}"]
    assert second.data is not None
    keys = page.locator("ul.json > li > .key, ul.json > li > details > summary > .key")
    assert keys.all_inner_texts() == list(second.data)
    raw = page.locator("pre.raw")
    assert raw.text_content() == second.payload


def test_an_entrys_proof_is_that_of_the_command(seen: Seen, log: Path) -> None:
    page = seen.go("/entry/9")
    assert "Checked: entry 9 is in the log" in page.inner_text("#proof")
    with page.expect_download() as download:
        page.click("#proof .head a")
    command = [sys.executable, "-m", "hansard_writer", "prove", "9", "--dir", str(log)]
    printed = subprocess.run(command, capture_output=True, check=True).stdout
    assert Path(download.value.path()).read_bytes() == printed
    assert page.locator("#proof-text").text_content() == printed.decode()


def test_a_plot_says_what_each_bar_is(seen: Seen) -> None:
    page = seen.go("/rates?span=24h")
    assert page.locator("svg.plot.wide").get_attribute("role") == "img"
    bars = page.locator("svg.plot.wide rect").all()
    said = [bar.locator("title").text_content() for bar in bars]
    assert any(re.match(r"agent\.step: 60 from \d{4}", each or "") for each in said)
    assert page.locator("svg.plot.wide .axis").all_text_contents() == [
        "entries in 24 minutes",
        "time, UTC",
    ]
    page.locator(".legend a", has_text="agent.step").click()
    assert "type=agent.step" in page.url


def test_operations_show_all_of_stderr_folded(seen: Seen) -> None:
    page = seen.go("/operations?status=failed")
    fold = page.locator("td.output details").first
    assert not fold.locator("pre").is_visible()
    fold.locator("summary").click()
    assert fold.locator("pre").is_visible()
    assert page.locator("tbody .status.success").count() == 0


def test_refusals_dead_letters_and_what_is_redacted_are_shown(seen: Seen) -> None:
    assert "R-7" in seen.go("/refusals").inner_text("tbody")
    assert "orphan" in seen.go("/dead-letters").inner_text("tbody")
    assert "nobody registered it" in seen.go("/dead-letters/1").inner_text("main")
    page = seen.go("/entry/4")
    assert "Redacted" in page.inner_text("main")
    assert "Checked: entry 4" in page.inner_text("#proof")


@pytest.mark.parametrize("event_type", ["hostile.text", "hostile.deep", "hostile.large"])
def test_hostile_text_is_only_shown(seen: Seen, event_type: str) -> None:
    page = seen.go(f"/entries?type={event_type}")
    assert page.locator("main img, main script").count() == 0
    page.locator("td.seq a").click()
    assert page.locator("main img, main script").count() == 0
    assert page.title() == f"{page.inner_text('h1')} · Hansard"
    if event_type == "hostile.text":
        assert viewed.HOSTILE in page.inner_text("main")
        assert page.locator(".json .code").all_inner_texts()[0] == r"\u202e"
        assert "\u202e" not in page.content()
    if event_type == "hostile.deep":
        assert "12345678901234567890" in page.inner_text("ul.json")
    if event_type == "hostile.large":
        assert len(page.content()) < 400_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone_or_comes_from_elsewhere(
    view: View, browser: Any, scheme: str
) -> None:
    tab = Seen(view, browser, viewport={"width": 390, "height": 844}, color_scheme=scheme)
    tab.context.route(lambda url: not url.startswith(view.url), lambda route: route.abort())
    for path in PAGES if scheme == "light" else PAGES[:2]:
        page = tab.go(path)
        too_wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(too_wide) <= 0, path
        red, green, blue = map(
            int,
            re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor")),
        )
        assert (red + green + blue < 200) is (scheme == "dark"), path
    assert tab.asked_elsewhere == []
    assert tab.complaints == []
    tab.context.close()


def test_hostile_text_is_only_shown_among_the_tables_too(seen: Seen) -> None:
    page = seen.go("/log/entries?_nocount=1&_sort_desc=seq")
    assert viewed.HOSTILE in page.inner_text("main")
    assert page.locator("main img, main script").count() == 0
    assert "\u202e" not in page.content()


def test_filters_stay_in_the_address_and_pages_turn_both_ways(seen: Seen) -> None:
    page = seen.go("/entries?type=agent.step&size=25")
    first = page.locator("td.seq a").all_inner_texts()
    page.click("a[rel=next]")
    second = page.locator("td.seq a").all_inner_texts()
    assert len(first) == len(second) == 25
    assert not set(first) & set(second)
    assert page.input_value("form.filters input[name=type]") == "agent.step"
    page.click("a[rel=prev]")
    assert page.locator("td.seq a").all_inner_texts() == first


def test_the_local_time_is_there_for_who_points_at_one(seen: Seen) -> None:
    time = seen.go("/entry/9").locator("main time").first
    time.hover()
    assert "here" in (time.get_attribute("title") or "")


def test_a_list_that_is_live_shows_what_comes_in(seen: Seen, log: Path) -> None:
    page = seen.go("/entries?type=late.news")
    assert "No entry meets these conditions" in page.inner_text("#rows")
    page.click("a.live")
    with viewed.writer(log), hansard.AuditLog(log) as recorder:
        recorder.record("late.news", {"n": 1}, sync=True)
        page.wait_for_selector("td.seq a")
        assert page.inner_text("td.type") == "late.news"
        page.click("a.live")
    assert "live=1" not in page.url


def test_ones_own_sql_is_read_only(seen: Seen) -> None:
    page = seen.go("/log")
    page.fill("textarea", "select count(*) as steps from events where event_type = 'agent.step'")
    page.click("form.sql button")
    assert page.inner_text("table.plain td") == "60"
    page.fill("textarea", "delete from entries")
    page.click("form.sql button")
    assert "must be a SELECT" in page.inner_text("main")
