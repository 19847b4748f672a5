#!/usr/bin/env bash
# Everything that only a GPU can show, in one call of a few minutes: what ran, and how it ended, in $OUT/summary.txt.
#
#     OUT=results PYTHON=python MINUTES=8 bash benchmarks/gpu_all.sh     (SLOWER=4: four times the limit of each part)
#
#   environment   the GPU, its memory, the versions
#   generation    the pocket model's greedy texts on the GPU and on the CPU: the share that is equal
#   quickstart    a whole `pop quickstart` with everything on the GPU
#   bf16          DPO and LoRA steps at the 7B architecture with random weights: seconds, memory, model FLOP utilisation
#   reference     the same in the reference's setting (all weights in fp32, off the GPU): slow, so it comes last
#
# Each part has a limit of its own and cannot take the others with it. Without a GPU the same parts run on the CPU as a dry run,
# with a tiny model in the place of the 7B: so this file cannot rot, and its figures mean nothing.
set -u
cd "$(dirname "$0")/.."
out=${OUT:-benchmarks/results/gpu}
python=${PYTHON:-python}
end=$((SECONDS + 60 * ${MINUTES:-8}))
mkdir -p "$out"
export PYTHONPATH=$PWD/src:$PWD${PYTHONPATH:+:$PYTHONPATH} TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1

part() { # part NAME LIMIT COMMAND…: run it for LIMIT seconds at most, or what is left
    local name=$1 limit=$(($2 * ${SLOWER:-1})) left=$((end - SECONDS)) began=$SECONDS code
    shift 2
    ((left < limit)) && limit=$left
    if ((limit < 10)); then
        echo "$name: not run, the time is up" | tee -a "$out/summary.txt"
        return
    fi
    timeout --kill-after=5 "$limit" "$@" >"$out/$name.log" 2>&1
    code=$?
    echo "$name: exit code $code after $((SECONDS - began)) s$( ((code == 124)) && echo ' (its time was up)')" | tee -a "$out/summary.txt"
    tail -n 8 "$out/$name.log"
}

: >"$out/summary.txt"
length=2048
if "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo "with a GPU" | tee -a "$out/summary.txt"
else
    echo "a dry run on the CPU: its figures mean nothing" | tee -a "$out/summary.txt"
    length=48
fi
part environment 60 "$python" -m pop_selfplay doctor
part generation 90 "$python" benchmarks/gpu_generation.py --json "$out/generation.json"
part quickstart 150 "$python" -m pop_selfplay quickstart --out "$out/quickstart"
part bf16 180 "$python" benchmarks/gpu_train.py --ways full,lora --lengths "$length" --steps 2 --json "$out/bf16.json"
part reference 240 "$python" benchmarks/gpu_train.py --ways reference --lengths "$length" --steps 1 --json "$out/reference.json"
rm -rf "$out/quickstart/models" # the weights are no result
cat "$out/summary.txt"
