"""What a platform asks without signing in: ``/health`` while the process serves, ``/ready`` once it has calls to show."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

router = APIRouter()


@router.api_route("/health", methods=["GET", "HEAD"])
async def health() -> JSONResponse:
    """200 as long as the process answers. Not in a worker thread: pages that take all of those do not make it look dead."""
    return JSONResponse({"status": "ok"})


@router.api_route("/ready", methods=["GET", "HEAD"])
async def ready(request: Request) -> JSONResponse:
    """200 once the lake was read, with ``stale`` if the last attempt to read it again failed; until then 503."""
    snapshots = request.app.state.snapshots
    if snapshots.current is None:
        return JSONResponse({"status": "unreadable" if snapshots.problem else "reading"}, 503, {"Retry-After": "3"})
    return JSONResponse({"status": "stale" if snapshots.problem else "ready"})
