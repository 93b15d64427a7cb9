"""Measures `ser dashboard` over a lake: how long it reads, its memory, and each page cold and warm.

python -m tests.factories.year LAKE 1000000 --no-segments && python -m tests.benchmarks.dashboard LAKE
"""

import subprocess
import sys
import time
import urllib.error
import urllib.request

from tests.support.receivers import free_port

PAGES = {
    "overview, the usual four weeks": "/",
    "overview, one queue": "/?queue=sales",
    "overview, a quarter": "/?first=2025-07-01&last=2025-09-30",
    "overview, the year": "/?first=2025-01-01&last=2025-12-31",
    "calls, newest first": "/calls",
    "calls of the year, angriest first": "/calls?first=2025-01-01&last=2025-12-31&sort=angriest",
    "CSV of the totals": "/csv/totals",
}
LONGEST_S = 600


def measure(lake: str) -> None:
    with free_port() as port:
        pass
    ask = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
    started = time.monotonic()
    server = subprocess.Popen(
        ["ser", "dashboard", "--lake", lake, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        listens_s = None
        while time.monotonic() - started < LONGEST_S and server.poll() is None:
            try:
                ask(f"http://127.0.0.1:{port}/csv/nights", timeout=LONGEST_S).close()
                break
            except urllib.error.HTTPError:  # 503: it reads the lake
                listens_s = listens_s or time.monotonic() - started
            except OSError:
                pass
            time.sleep(0.05)
        print(f"listens after {listens_s or 0:.1f} s, has read the lake after {time.monotonic() - started:.1f} s")
        for name, path in PAGES.items():
            seconds = []
            for _ in range(2):
                began = time.monotonic()
                with ask(f"http://127.0.0.1:{port}{path}", timeout=LONGEST_S) as answer:
                    size_kb = len(answer.read()) / 1000
                seconds.append(time.monotonic() - began)
            print(f"{name}: {seconds[0]:.2f} s, again {seconds[1]:.2f} s, {size_kb:.0f} kB")
        with open(f"/proc/{server.pid}/status") as status:
            print("memory: " + ", ".join(" ".join(line.split()) for line in status if line.startswith(("VmHWM", "VmRSS"))))
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    measure(sys.argv[1])
