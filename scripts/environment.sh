# Sourced by scripts/run and scripts/test: a virtual environment with vmatte and its pinned dependencies.
# VMATTE_VENV names another place for it than .venv.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${VMATTE_VENV:-$root/.venv}

find_python() {
    local candidate
    for candidate in "${PYTHON:-python3}" python3.13 python3.12 python3.11 python3; do
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "vmatte: needs Python 3.11 or newer with venv (Debian: apt-get install python3 python3-venv)" >&2
    exit 1
}

# make_environment EXTRAS: installs again only when what is asked for has changed.
make_environment() {
    local wanted stamp="$venv/vmatte-installed" python
    wanted="$root $1 $(cat "$root/constraints.txt" "$root/pyproject.toml" | cksum)"
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
        return
    fi
    echo "vmatte: setting up $venv (once; a few minutes)" >&2
    python=$(find_python)
    [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
    # Editable, so that a change in the checkout is what runs; -c, so that it runs with the versions it was tested with.
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        -c "$root/constraints.txt" --editable "$root$1" >&2
    echo "$wanted" > "$stamp"
}
