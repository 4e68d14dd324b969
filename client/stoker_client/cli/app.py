from __future__ import annotations

import sys
from typing import Annotated
from urllib.parse import urlsplit

import typer

from stoker_client import __version__
from stoker_client.cli import datasets, jobs, keep, show
from stoker_client.cli.common import JsonOption, connected, day
from stoker_client.client import Client
from stoker_client.errors import StokerError

app = typer.Typer(
    help="Start fine-tuning jobs, watch the loss fall, fetch the adapter.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(datasets.app, name="datasets")
app.add_typer(jobs.app, name="jobs")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"stoker-client {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    pass


@app.command()
def login(
    url: Annotated[str, typer.Argument(help="Address of the server, for example https://stoker.example.org")],
    token: Annotated[
        str | None, typer.Option(help="An API token, or “-” to read it from stdin. Left out: you are asked for it.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Sign in to a server. The token is kept in a file that only you can read.

    Tokens are made in the server's settings page.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise StokerError(f"“{url}” is no address. Give one as https://stoker.example.org.")
    if token == "-":  # noqa: S105
        token = sys.stdin.readline()
    elif token is None:
        if not sys.stdin.isatty():
            raise StokerError(
                "There is no terminal to ask for the token. Give it with --token, or --token - and stdin."
            )
        token = typer.prompt(f"API token (see {url.rstrip('/')}/settings/)", hide_input=True)
    token = token.strip()
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        print("Beware: without https:// the token can be read on its way.", file=sys.stderr)
    with Client(url, token, patience=5) as client:
        me = client.me()
    path = keep.save(url.rstrip("/"), token)
    if as_json:
        show.as_json({"username": me["username"], "url": url.rstrip("/"), "kept_in": str(path)})
    else:
        print(f"Signed in to {url.rstrip('/')} as {me['username']}. The token is kept in {path}.")


@app.command()
def logout() -> None:
    """Forget the kept token. It stays valid until it is revoked in the settings."""
    print("The token is forgotten here." if keep.forget() else "Nobody was signed in.")


@app.command()
def whoami(as_json: JsonOption = False) -> None:
    """Who you are, and where."""
    with connected() as client:
        me = client.me() | {"url": client.transport.url}
    if as_json:
        show.as_json(me)
    else:
        print(f"{me['username']} at {me['url']}")


@app.command()
def providers(
    gpu: Annotated[str, typer.Option(help="Only machines with this text in their name.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Where jobs can run, and for how much."""
    with connected() as client:
        found = client.providers()
    if as_json:
        show.as_json(found)
        return
    rows = []
    for one in found:
        problem = "" if one["available"] else one["problem"]
        offers = [offer for offer in one["offers"] if gpu.lower() in f"{offer['type']} {offer['label']}".lower()]
        if not offers and not gpu:
            rows.append((one["name"], "", "", "", "", show.plain(problem)))
        for offer in offers:
            free = offer["available"] if offer["available"] is not None else offer["stock"]
            memory = f"{offer['memory_gb']:g} GB" if offer["memory_gb"] else ""
            kind = f"{offer['type']} ({offer['cloud']})" if offer["cloud"] else offer["type"]
            price = f"{show.money(offer['price_per_hour'])}/h"
            rows.append((one["name"], show.plain(kind), memory, price, free, show.plain(offer["note"])))
    columns = ("Provider", "GPU", "Memory", "Price", "Free", "Note")
    show.table(columns, rows, "There is no such machine.", right=("Memory", "Price"))


@app.command()
def presets(as_json: JsonOption = False) -> None:
    """Named sets of hyperparameters."""
    with connected() as client:
        found = client.presets()
    if as_json:
        show.as_json(found)
        return
    rows = [
        (
            one["slug"] + (" (default)" if one["is_default"] else ""),
            show.plain(one["name"]),
            show.plain(one["description"]),
        )
        for one in found
    ]
    show.table(("Preset", "", "Name", "What it is for"), rows, "There are no presets.")


@app.command()
def credentials(as_json: JsonOption = False) -> None:
    """Your accounts at providers. Add one in the server's settings page."""
    with connected() as client:
        found = client.credentials()
    if as_json:
        show.as_json(found)
        return
    rows = [
        (one["provider"], show.plain(one["account_name"]), f"…{one['hint']}", show.money(one["balance"]),
         show.plain(one["problem"] or "works"))
        for one in found
    ]  # fmt: skip
    show.table(("Provider", "Account", "Key", "Balance", "State"), rows, "You have no accounts.", right=("Balance",))


@app.command()
def costs(
    by: Annotated[str, typer.Option(help="day, provider or job")] = "day",
    first: Annotated[str | None, typer.Option("--from", help="First day (UTC), as 2026-01-31.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last day.")] = None,
    as_json: JsonOption = False,
) -> None:
    """What your jobs have cost, and how this month stands."""
    with connected() as client:
        told = client.spending(by=by, first=day(first), last=day(last))
    if as_json:
        show.as_json(told)
        return
    rows = [
        (show.plain(row["label"] or row["key"] or "deleted jobs"), row["jobs"], show.duration(float(row["seconds"])),
         show.money(row["amount"]))
        for row in told["rows"]
    ]  # fmt: skip
    columns = (by.capitalize(), "Jobs", "Machine time", "Cost")
    show.table(columns, rows, "Nothing was spent.", right=("Jobs", "Machine time", "Cost"))
    month = told["month"]
    limit = f" of {show.money(month['limit'])}" if month["limit"] is not None else ""
    print(
        f"\nTotal {show.money(told['total'])} from {told['first']} to {told['last']}. This month: "
        f"{show.money(month['spent'])}{limit} spent, {show.money(month['held'])} held for live jobs."
    )


@app.command()
def notifications(
    unread: Annotated[bool, typer.Option("--unread", help="Only those not read yet.")] = False,
    read_all: Annotated[bool, typer.Option("--read-all", help="Mark all as read.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 20,
    as_json: JsonOption = False,
) -> None:
    """What you were told, the newest first."""
    with connected() as client:
        found = client.notifications(unread=True if unread else None, limit=limit)
        if read_all:
            client.mark_all_read()
    if as_json:
        show.as_json(found)
        return
    rows = [("" if one["read"] else "new", show.ago(one["created_at"]), show.plain(one["title"])) for one in found]
    show.table(("", "When", "What"), rows, "Nothing new." if unread else "You were told nothing yet.")
