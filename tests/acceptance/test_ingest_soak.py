"""A city's rate held for long: 60,000 messages a second into a real journal behind a real broker, nothing lost."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.ingest import DEVICES, Bench, mosquitto

RATE = 60_000
SECONDS = int(os.environ.get("CITYWHISTLE_SOAK_S", "600"))
WARM = 0.2  # of the time, until when buffers may fill
GROWTH_BYTES = 64 << 20


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.soak
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("qos", [0, 1])
def test_a_rate_held(tmp_path: Path, qos: int) -> None:
    """Each device's account is exactly what was sent; memory stays flat; 99 of 100 are durable within 100 ms."""
    with mosquitto(tmp_path / "broker") as broker:
        bench = Bench(broker.port, tmp_path)
        bench.pump.start()
        try:
            while not bench.pump.link_state().drained:
                time.sleep(0.05)
            memory: list[int] = []
            with ThreadPoolExecutor(1) as pool:
                running = pool.submit(bench.run, "json", RATE * SECONDS, qos, 1, RATE)
                while not running.done():
                    memory.append(resident())
                    time.sleep(SECONDS / 200)
            got = running.result()
            tallies = [bench.pump.ledger.tally("pole", row) for row in range(DEVICES)]
            stages = bench.pump.stages()
        finally:
            bench.pump.stop()
            bench.journal.close()
    delays = sorted(got["delays_ms"])
    warm = memory[int(len(memory) * WARM) :]
    figures = {
        "qos": qos,
        "seconds": SECONDS,
        "readings": got["readings"],
        "cpu_share": round(got["cpu_s"] / got["wall_s"], 3),
        "p50_ms": round(delays[len(delays) // 2], 1),
        "p99_ms": round(delays[int(len(delays) * 0.99)], 1),
        "worst_ms": round(delays[-1], 1),
        "memory_mb": [round(memory[0] / 2**20), round(warm[0] / 2**20), round(max(warm) / 2**20)],
        "stages_cpu_s": {name: round(stage.get("cpu_seconds_total", 0.0), 1) for name, stage in stages.items()},
        "load": os.getloadavg(),
    }
    print(json.dumps(figures))
    sent = [len(range(device, RATE * SECONDS, DEVICES)) for device in range(DEVICES)]
    assert [t.journalled for t in tallies] == sent
    assert [(t.missing, t.duplicate, t.late, t.out_of_order, dict(t.rejected)) for t in tallies] == DEVICES * [
        (0, 0, 0, 0, {})
    ]
    assert max(warm) - warm[0] < GROWTH_BYTES, figures
    assert figures["p99_ms"] < 100, figures
