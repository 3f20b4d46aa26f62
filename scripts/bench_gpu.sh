#!/usr/bin/env bash
# What the networks do on one NVIDIA GPU; unattended, in less than eight minutes, without a network connection.
#   scripts/bench_gpu.sh                    numbers as JSON, tables in bench_gpu.md, both in $OUT (default: ./bench_gpu)
#   scripts/bench_gpu.sh --cpu-rehearsal    every step, at tiny sizes on the CPU, to see that the script runs
# Needs this checkout and a python3 ($PYTHON) with a CUDA build of torch, and numpy; weights are random. With torchvision
# its deformable convolution is measured too, with Pillow the plain loop; the end to end part needs all that vmatte does.
# Packages that are missing can lie in wheels/ beside this folder: they are unpacked, without their dependencies.
# Exit code: 2 without a GPU; 1 when a part failed or ran out of its time: what it had by then is kept.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python3}
out=${OUT:-$PWD/bench_gpu}
rehearsal=()
patience=1
case ${1:-} in
    "") ;;
    --cpu-rehearsal)
        rehearsal=(--cpu-rehearsal)
        patience=4
        # Compiling for a CPU takes minutes and says nothing of CUDA; threads that spin slow each other down.
        export TORCHDYNAMO_DISABLE=1 OMP_NUM_THREADS=1
        ;;
    *) echo "bench_gpu: unknown option $1; there is --cpu-rehearsal" >&2; exit 2 ;;
esac
if [ ${#rehearsal[@]} -eq 0 ]; then
    found=$("$python" -c 'import torch; print(torch.__version__, torch.cuda.is_available())' 2>&1 | tail -n 1)
    if [ "${found##* }" != True ]; then
        echo "bench_gpu: there is no CUDA GPU that torch can use ($python says: $found)" >&2
        exit 2
    fi
fi
mkdir -p "$out" || exit 2
rm -f "$out"/*.json "$out"/*.md "$out"/log.txt "$out"/parts.txt
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
if compgen -G "$root/wheels/*.whl" >/dev/null; then
    "$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --upgrade \
        --target "$out/site" "$root"/wheels/*.whl >>"$out/log.txt" 2>&1 || echo "bench_gpu: wheels/ cannot be used" >&2
    export PYTHONPATH=$PYTHONPATH:$out/site
fi

# Seconds for each part; with those that a part takes to be killed they are seven minutes at most. What matters most
# comes first.
failed=0
while read -r part seconds; do
    seconds=$((seconds * patience))
    started=$SECONDS
    timeout --kill-after=3 "$seconds" "$python" "$root/scripts/bench_gpu.py" "$part" "$out" "${rehearsal[@]}" \
        </dev/null >>"$out/log.txt" 2>&1
    code=$?
    case $code in
        0) outcome="done" ;;
        124 | 137) outcome="out of its $seconds s"; failed=1 ;;
        *) outcome="failed, exit code $code, see log.txt"; failed=1 ;;
    esac
    echo "$part: $outcome ($((SECONDS - started)) s)" | tee -a "$out/parts.txt"
done <<'PARTS'
large 90
lite 34
high-resolution 40
half-precision 34
deformable 15
profile 24
end-to-end 95
compiled 64
PARTS
timeout --kill-after=3 40 "$python" "$root/scripts/bench_gpu.py" summary "$out" "${rehearsal[@]}" && echo "bench_gpu: $out/bench_gpu.md"
exit $failed
