"""``hansard keys new``, ``allow``, ``revoke``, ``allowed``: who records here from other hosts."""

from pathlib import Path
from typing import Final

import click

from hansard import directory as layout
from hansard.curve import check_public_key, new_keys, read_keys
from hansard.errors import ConfigError
from hansard_writer.cli.exits import AnswerIsNo
from hansard_writer.cli.options import directory_option, format_option
from hansard_writer.cli.output import print_rows
from hansard_writer.durable_files import write_new_file
from hansard_writer.remote.allow_list import (
    Client,
    changing,
    check_name,
    read_clients,
    rights_of,
)
from hansard_writer.remote.rights import RECORD, RIGHTS

COLUMNS: Final = ("name", "rights", "key")
PUBLIC_KEY_MODE: Final = 0o644
KEY_FILE_CHARACTERS_MAX: Final = 256


@click.command(
    name="new",
    epilog="""\b
Examples:
  hansard keys new
  hansard keys new --dir /var/lib/myapp/audit > writer.key.pub
""",
)
@directory_option
def new(directory: Path) -> None:
    """Make this directory's own pair of keys for tcp; prints its public half.

    Both sides need one: the directory that is served with `hansard serve --tcp`, and each directory
    on another host whose workers record there. The secret stays in DIR/curve.key (mode 600), the
    public half is in DIR/curve.pub, too. What to do with it is said on stderr.

    A pair that is there is never replaced: exits with 2.
    """
    keys = new_keys()
    try:
        directory.mkdir(mode=layout.PRIVATE_DIRECTORY_MODE, parents=True, exist_ok=True)
        secret = f"{keys.secret}\n".encode()
        write_new_file(directory / layout.CURVE_KEY, secret, layout.PRIVATE_FILE_MODE)
        (directory / layout.CURVE_PUBLIC).unlink(missing_ok=True)  # of a pair whose secret is gone
        write_new_file(
            directory / layout.CURVE_PUBLIC, f"{keys.public}\n".encode(), PUBLIC_KEY_MODE
        )
    except FileExistsError:
        raise ConfigError(
            f"{directory} has its keys: the public one is {read_keys(directory).public}; remove "
            f"{layout.CURVE_KEY} there first, if it is to have others"
        ) from None
    except OSError as error:
        raise ConfigError(f"cannot make keys in {directory}: {error.strerror}") from error
    click.echo(_what_next(keys.public, directory), err=True)
    click.echo(keys.public)


_ANY_WORD: Final = {"ignore_unknown_options": True}  # a key may begin with a dash


@click.command(
    name="allow",
    context_settings=_ANY_WORD,
    epilog="""\b
Examples:
  hansard keys allow 'rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7' --name web-1
  hansard keys allow web-1.pub --name web-1 --may record,call
""",
)
@click.argument("key")
@click.option("--name", required=True, help="What the key goes by: a host, or a service.")
@click.option(
    "--may",
    default=RECORD,
    show_default=True,
    metavar="RIGHTS",
    help=f"What it may do: some of {','.join(RIGHTS)}.",
)
@directory_option
def allow(directory: Path, key: str, name: str, may: str) -> None:
    """Let a client of another host in, by its public KEY, or the file that holds it.

    record: its workers record events. call: they call named operations. admin: it may do what an
    administrator does with `hansard` commands: redact, prune, replay, change keys, …

    What was recorded with a key belongs to its name: the same name with another key takes over,
    and no other client can speak for it. A running writer goes by it within a second, or as soon as
    the key connects, and says so in the log (entry hansard.client); one that starts later says it
    then. To say the same again changes nothing.
    """
    _require_existing(directory)
    client = Client(_key_of(key), name, rights_of(may))
    check_name(name)
    with changing(directory) as clients:
        said = _put(client, clients)
    click.echo(said, err=True)


@click.command(
    name="revoke",
    context_settings=_ANY_WORD,
    epilog="""\b
Examples:
  hansard keys revoke web-1
""",
)
@click.argument("client", metavar="NAME|KEY")
@directory_option
def revoke(directory: Path, client: str) -> None:
    """Let a client in no more, by its name or its public key.

    A running writer takes nothing more from it within a second, also over connections that stand,
    and says so in the log. Exits with 1 if there is no such client.
    """
    _require_existing(directory)
    with changing(directory) as clients:
        gone = [each for each in clients if client in (each.name, each.key)]
        for each in gone:
            clients.remove(each)
    if not gone:
        raise AnswerIsNo(
            f"{client} is not allowed in {directory}: `hansard keys allowed` says who is."
        )
    for each in gone:
        click.echo(f"{each.name} may not connect any more.", err=True)


@click.command(
    name="allowed",
    epilog="""\b
Examples:
  hansard keys allowed
  hansard keys allowed --format jsonl | jq -r .name
""",
)
@directory_option
@format_option
def allowed(directory: Path, format: str) -> None:  # noqa: A002 - the option's name
    """Print the clients of other hosts that may connect, and what they may do.

    Exits with 1 if there are none.
    """
    _require_existing(directory)
    clients = read_clients(directory)
    if not clients:
        raise AnswerIsNo(f"no client of another host may connect to {directory}.")
    rows = ({**each._asdict(), "rights": ",".join(each.rights)} for each in clients)
    print_rows(rows, COLUMNS, format)


def _require_existing(directory: Path) -> None:
    if not directory.is_dir():
        raise ConfigError(f"{directory} does not exist: name the log's directory with --dir")


def _key_of(text: str) -> str:
    """The key that an argument is, or that the file holds which it names."""
    path = Path(text)
    try:
        is_file = path.is_file()
    except (OSError, ValueError):
        is_file = False
    if is_file and path.name == layout.CURVE_KEY:
        raise ConfigError(f"{path} is a secret, and stays where it is: give {layout.CURVE_PUBLIC}")
    if is_file:
        try:
            with path.open(encoding="ascii") as file:
                text = file.read(KEY_FILE_CHARACTERS_MAX).strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read a key from {path}: {error}") from error
    check_public_key(text, f"the key in {path}" if is_file else "the key, which is no file either,")
    return text


def _put(client: Client, clients: list[Client]) -> str:
    """Put a client into the list, in place of what has its name; what came of it."""
    for index, each in enumerate(clients):
        if each.key == client.key and each.name != client.name:
            raise ConfigError(
                f"this key is {each.name}'s, and so is what it recorded: make another for that "
                f"host, or `hansard keys revoke {each.name}` once its workers have sent all"
            )
        if each.name == client.name:
            clients[index] = client
            if each == client:
                return f"{client.name} may already {', '.join(client.rights)}."
            with_key = "" if each.key == client.key else f" with a new key, in place of {each.key}"
            return f"{client.name} may now {', '.join(client.rights)}{with_key}."
    clients.append(client)
    return f"{client.name} may {', '.join(client.rights)}."


def _what_next(public: str, directory: Path) -> str:
    return f"""\
The secret is in {directory / layout.CURVE_KEY}; below is the public key. What comes next:
If this directory is served: in hansard.toml of each client's directory, on its host,
  connect = "tcp://HOST:PORT"
  server_key = "{public}"
If it is a client's: on the writer's host, with the log's directory,
  hansard keys allow '{public}' --name NAME --dir DIR"""
