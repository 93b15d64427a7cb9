"""Commands that serve, write or send pages and notifications."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.app import Lake, failure, of_nights


@of_nights
def dashboard(
    lake: Lake,
    recordings: Annotated[
        str | None, typer.Option(help="Folder or s3://bucket/prefix of the recordings, to play them; without it none can be played.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Any except a loopback address requires sign-in (SER_DASHBOARD_...).")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8050,
) -> None:
    """Serve the dashboard for service leads: moods by day, queue and hour, and the calls behind each number.

    Example: `ser dashboard --lake demo-lake`, then open http://127.0.0.1:8050
    """
    from ser_tasks.dashboard.app import create_app, listen, serve
    from ser_tasks.dashboard.viewers import check_sign_in
    from ser_tasks.settings import Settings

    settings = Settings()
    check_sign_in(settings, host)
    listening = listen(host, port)  # before the lake is opened: its threads would outlive an error
    dashboard_app = create_app(lake, recordings, settings, wait=False)
    typer.echo(f"The dashboard: http://{f'[{host}]' if ':' in host else host}:{port}   (reads the lake first; Ctrl+C ends it)")
    serve(dashboard_app, listening)


@of_nights
def alerts(
    lake: Lake,
    rules: Annotated[str | None, typer.Option(help="File of the rules; SER_ALERTS or deploy/alerts.yaml if not given.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the rules and show the notifications; nothing is sent.")] = False,
) -> None:
    """Evaluate the alert rules, and send notifications of alerts that are firing or resolved: by Prefect, a webhook or e-mail.

    Exit code 1 if a notification could not be sent or a rule not be evaluated; the next run tries again.

    Example: `ser alerts --lake s3://lake/emotions --dry-run`
    """
    from ser_tasks.monitoring import alert_rules
    from ser_tasks.monitoring import alerts as library
    from ser_tasks.settings import Settings

    if dry_run:
        settings = Settings()
        page = alert_rules.load(rules or settings.alerts)
        typer.echo(library.dry_run(lake, page, settings))
        return
    from flows.alerts import run

    try:
        sent = run(lake, rules, typer.echo)
    except library.NotificationError as error:
        raise failure(error) from None
    if not sent:
        typer.echo("No notification was due.")


@of_nights
def weekly(
    lake: Lake,
    week: Annotated[str | None, typer.Option(help="A week, as 2026-W47; by default the newest complete one.")] = None,
    out: Annotated[Path, typer.Option(help="File to write the page to.")] = Path("weekly.html"),
    queue: Annotated[
        list[str] | None, typer.Option(help="Show only this queue; may be given several times. By default every queue.")
    ] = None,
    group: Annotated[
        list[str] | None, typer.Option(help="Show what this group of SER_DASHBOARD_GROUPS may see; may be given several times.")
    ] = None,
    mail: Annotated[
        bool, typer.Option("--mail", help="Mail the page to each address of SER_WEEKLY_TO, once, instead of writing it.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="With --mail: also to addresses that have received that week's page.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --mail: print who would get which queues; nothing is sent.")] = False,
) -> None:
    """Write the overview of a week as a self-contained HTML file, or mail it to the leads of the queues.

    Exit code 1 if a mail could not be sent; the next run tries again.

    Example: `ser weekly --lake s3://lake/emotions --week 2026-W47 --queue billing --out weekly.html`
    """
    if mail:
        if queue or group:
            raise ValueError("With --mail, SER_WEEKLY_TO says who sees which queues: leave out --queue and --group.")
        from ser_tasks.dashboard.mailing import MailingError, mail_week

        try:
            mail_week(lake, week, again, dry_run, typer.echo)
        except MailingError as error:
            raise failure(error) from None
        return
    if again or dry_run:
        raise ValueError("--again and --dry-run have no effect without --mail: add it.")
    from ser_tasks.dashboard import weekly as page
    from ser_tasks.settings import Settings

    made = page.of_lake(lake, week, queue or [], group or [], Settings())
    out.write_text(made.html, encoding="utf-8")
    typer.echo(f"{made.text}\nWrote {out}.")
