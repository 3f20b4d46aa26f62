#!/usr/bin/env bash
# A digital human from a clip, a face and a background: FaceFusion swaps the face, vmatte puts the background behind.
#
#   scripts/facefusion_to_vmatte.sh FACE CLIP BACKGROUND OUTPUT [options of `vmatte run`]
#
# FACEFUSION is FaceFusion's folder (with its facefusion.py), FACEFUSION_PYTHON the python it is installed in,
# FACEFUSION_OPTIONS what it gets beside the files. The swapped clip lies beside OUTPUT until the composite is there: the
# same command again does not swap twice, and goes on where the composite stopped.
set -euo pipefail

if [ $# -lt 4 ]; then
    sed -n '4s/^# *//p' "$0" >&2
    exit 2
fi
face=$1 clip=$2 background=$3 output=$4
shift 4
: "${FACEFUSION:?set FACEFUSION to the folder that holds facefusion.py}"
for file in "$face" "$clip"; do
    [ -f "$file" ] || { echo "$file does not exist" >&2; exit 2; }
done
[ -f "$FACEFUSION/facefusion.py" ] || { echo "there is no facefusion.py in $FACEFUSION" >&2; exit 2; }

read -r -a options <<<"${FACEFUSION_OPTIONS:---processors face_swapper face_enhancer --output-video-quality 95}"
# What was made of another face or clip, or with other options, has another name.
key=$({ cksum <"$face"; cksum <"$clip"; echo "${options[@]}"; } | cksum | cut -d ' ' -f 1)
swapped="${output%/}.swapped-$key.mp4"
if [ ! -f "$swapped" ]; then
    # An own name until it is whole. Quality 95: what this step loses, the matte's edge shows.
    part="$(realpath "$(dirname "$swapped")")/.$(basename "${swapped%.mp4}").part.mp4"
    face=$(realpath "$face") target=$(realpath "$clip")
    (cd "$FACEFUSION" && "${FACEFUSION_PYTHON:-python}" facefusion.py headless-run \
        -s "$face" -t "$target" -o "$part" "${options[@]}")
    mv "$part" "$swapped"
fi
"${VMATTE:-vmatte}" run "$swapped" --bg "$background" -o "$output" "$@"
rm "$swapped"
