import os
import signal
import stat
import subprocess
import sys

from ser_tasks.scratch import scratch_folder


def test_scratch_is_private_and_goes_with_its_run(tmp_path):
    with scratch_folder(str(tmp_path)) as folder:
        (folder / "frames").write_bytes(b"x")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert os.listdir(tmp_path) == []


def test_a_killed_run_s_scratch_is_removed_by_the_next_and_a_living_one_s_is_not(tmp_path):
    code = (
        "import sys, time\nfrom ser_tasks.scratch import scratch_folder\n"
        f"with scratch_folder({str(tmp_path)!r}) as f:\n (f / 'frames').write_bytes(b'x'); print(f, flush=True); time.sleep(60)"
    )
    killed, living = (subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2))
    try:
        names = [process.stdout.readline().strip() for process in (killed, living)]
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        with scratch_folder(str(tmp_path)):
            assert not os.path.exists(names[0])
            assert os.path.exists(names[1])
    finally:
        living.kill()
        living.wait()
        killed.stdout.close()
        living.stdout.close()
