"""An executable that stands in for `vllm`: the same command line and routes, with the simulated model behind them."""

import sys
from pathlib import Path

_SCRIPT = """#!{python}
import argparse, os, sys
sys.path[:0] = {path!r}
parser = argparse.ArgumentParser()
parser.add_argument("command", choices=["serve"])
parser.add_argument("model")
parser.add_argument("--host", required=True)
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--served-model-name", required=True)
parser.add_argument("--generation-config", choices=["vllm"], required=True)
parser.add_argument("--enable-prefix-caching", action="store_true", required=True)
parser.add_argument("--tensor-parallel-size", type=int, required=True)
parser.add_argument("--data-parallel-size", type=int, required=True)
parser.add_argument("--chat-template")
parser.add_argument("--crash-after", type=int)
parser.add_argument("--deaf", action="store_true")
asked = parser.parse_args()
print("loading", asked.model, "on", *map(os.environ.get, ("CUDA_VISIBLE_DEVICES", "VLLM_SETTING")), flush=True)
if "missing" in asked.model:
    sys.exit("OSError: no such model: " + asked.model)
import asyncio, signal
from pop_selfplay.config import SimulatedModel
from pop_selfplay.models.simulated import SimulatedChatModel
from pop_selfplay.models.simulated.server import HttpFaults, listening, simulated_app
if asked.deaf:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
async def main():
    model = SimulatedChatModel(SimulatedModel(malformed_rate=0.1, seconds_per_call=0.01), name=asked.served_model_name)
    app = simulated_app(model, faults=HttpFaults(crash_after=asked.crash_after))
    async with listening(app, host=asked.host, port=asked.port):
        await asyncio.Event().wait()
asyncio.run(main())
"""


def write_stand_in(folder: Path) -> Path:
    """Write the executable into `folder` and return its path."""
    path = folder / "vllm"
    path.write_text(_SCRIPT.format(python=sys.executable, path=[entry for entry in sys.path if entry]), encoding="utf-8")
    path.chmod(0o755)
    return path
