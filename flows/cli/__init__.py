"""The command line, ``ser``: one module for each group of commands. ``ser --help`` lists them in the order of ``COMMANDS``."""

from flows.cli import lake, models, nightly, pages, privacy, reviews
from flows.cli.app import app, plain_errors
from flows.cli.names import EPILOGS

__all__ = ["COMMANDS", "app"]

COMMANDS = (
    nightly.demo,
    nightly.nightly,
    lake.sql,
    lake.catalog,
    models.train,
    models.fuse,
    models.evaluate,
    models.league,
    models.field,
    models.models,
    models.bench,
    models.speech,
    nightly.backfill,
    nightly.rescore,
    nightly.adapt,
    nightly.transcribe,
    lake.retention,
    lake.rollback,
    lake.erase,
    lake.hold,
    lake.pseudonym,
    lake.key,
    lake.rekey,
    lake.report,
    lake.doctor,
    lake.compact,
    pages.dashboard,
    pages.alerts,
    pages.weekly,
    privacy.access,
    privacy.compliance,
    reviews.promote,
)

for command in COMMANDS:
    app.command(epilog=EPILOGS.get(command.__name__))(plain_errors(command))
reviews.reviews.command()(plain_errors(reviews.draw))
reviews.reviews.command()(plain_errors(reviews.export))
app.add_typer(reviews.reviews, name="reviews")
