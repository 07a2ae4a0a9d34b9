# Sourced by the other scripts. Sets up an environment in .venv and a front end in
# exclip_widget/widget/static, and rebuilds each only if its sources have changed.
# shellcheck shell=bash

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD

# shellcheck disable=SC2034  # used where this is sourced
python=$root/.venv/bin/python

# Apply the same pins inside pip's isolated builds; newer versions of pip read the second name. The paths are
# relative, because pip splits them at spaces.
export PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK=1
export UV_CONSTRAINT=constraints.txt UV_BUILD_CONSTRAINT=constraints.txt
# Use the system's certificates; newer and older versions of uv have different names for this.
export UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1
# Some systems set this. uv doesn't compile packages either, so each of the many processes that the tests
# start would compile PyTorch again.
unset PYTHONDONTWRITEBYTECODE
# The tests drive the system's Chromium, so npm doesn't need to download one.
export PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

die() {
    printf '\nscripts: %s\n' "$1" >&2
    shift
    [ $# -eq 0 ] || printf '    %s\n' "$@" >&2
    exit 1
}

# Prints one hash of the contents and names of the given files, and of all files in the given folders.
hash_of() {
    { find "$@" -type f -print0 2>/dev/null || true; } | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1
}

# is_stamped NAME HASH: succeeds if the step NAME was last completed with this HASH.
is_stamped() { [ "$(cat ".venv/.stamp-$1" 2>/dev/null)" = "$2" ]; }
stamp() { printf '%s\n' "$2" >".venv/.stamp-$1"; }

find_python() {
    local name
    for name in python3 python3.14 python3.13 python3.12 python3.11 python; do
        # PyTorch has no wheels for Python after 3.14.
        if "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    die "Python 3.11 to 3.14 is needed, and none was found (python3: $(python3 --version 2>&1 || true))." \
        "On Debian or Ubuntu: apt-get install python3 python3-venv"
}

need_node() {
    command -v node >/dev/null || die "Node 20.19 or newer is needed to build the front end, and none was found." \
        "On Debian or Ubuntu: apt-get install nodejs npm, or see https://nodejs.org"
    node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' ||
        die "Node 20.19 or newer is needed to build the front end; this one is $(node --version)." "See https://nodejs.org"
    command -v npm >/dev/null || die "npm is needed to build the front end, and none was found." \
        "On Debian or Ubuntu: apt-get install npm"
}

make_venv() {
    "$python" -c '' 2>/dev/null && return
    local base
    base=$(find_python)
    say "Python environment: .venv ($("$base" --version))"
    rm -rf .venv
    "$base" -m venv .venv ||
        { rm -rf .venv; die "'$base -m venv' failed." "On Debian or Ubuntu: apt-get install python3-venv"; }
    # JupyterLab runs a CommonJS program from inside .venv. Without this file, Node would treat it as an ES
    # module because of the package.json in the root.
    echo '{ "type": "commonjs" }' >.venv/package.json
}

# Installs packages with uv, which takes a fifth of pip's time. Falls back to pip if that fails, or if pip is
# configured with its own index, which uv would not use.
install() {
    if ! "$python" -m pip config list | grep -q '\.index-url=' &&
        "$python" -m pip install -q uv &&
        "$python" -m uv pip install -q "$@"; then
        return
    fi
    "$python" -m pip install --progress-bar off -q "$@"
}

# install_python lab|gallery|docs|test: test includes all of the others.
install_python() {
    local want=$1 extras=$1 now
    [ -f .venv/.stamp-test ] && want=test
    [ "$want" = gallery ] && extras=lab,store,ray
    [ "$want" = test ] && extras=lab,docs,test
    now=$({ echo "$root"; hash_of pyproject.toml constraints.txt; } | sha256sum | cut -d' ' -f1)
    is_stamped "$want" "$now" && return
    say "Python packages: exclip-widget[$extras] (including PyTorch: takes minutes and several GB, once)"
    # build_front_end builds the front end separately.
    SKIP_JUPYTER_BUILDER=1 install -e ".[$extras]"
    if [ "$want" = test ]; then
        # The parity tests' oracles. Only their code is needed, not their dependencies (OpenCV, matplotlib);
        # setuptools is for clip, which imports pkg_resources.
        install --no-deps exclip clip-anytorch setuptools
        # Compile these once here: the workers start simultaneously, and each would compile everything itself.
        "$python" -c 'import matplotlib.pyplot, open_clip, pandas, transformers' || true
    fi
    stamp "$want" "$now"
}

install_npm() {
    local now
    now=$(hash_of package.json package-lock.json)
    [ -d node_modules ] && is_stamped npm "$now" && return
    say "npm packages"
    npm ci --no-audit --no-fund
    stamp npm "$now"
}

build_front_end() {
    local now
    now=$(hash_of js package.json package-lock.json tsconfig.json)
    local static=exclip_widget/widget/static
    [ -f $static/widget.js ] && [ -f $static/widget.css ] && [ -f $static/gallery.js ] && [ -f $static/gallery.css ] &&
        [ -f $static/page.js ] && [ -f $static/page.css ] &&
        is_stamped front "$now" && return
    install_npm
    say "Front end"
    npm run build
    stamp front "$now"
}

# open_lab NOTEBOOK ARGUMENTS...: replaces this process with JupyterLab and opens NOTEBOOK. Needs no display.
open_lab() {
    local notebook=$1
    shift
    local arguments=("$@")
    if [ "$(id -u)" -eq 0 ]; then
        arguments+=(--allow-root) # Jupyter requires this as root, the only user in many containers
    fi

    case " $* " in
    *" --no-browser "*) say "JupyterLab: open the address printed below in a browser" ;;
    *)
        if [ "$(uname)" = Linux ] && [ -z "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] ||
            ! "$python" -c 'import webbrowser; webbrowser.get()' 2>/dev/null; then
            arguments+=(--no-browser)
            say "JupyterLab: found no display or no browser, so open the address printed below in a browser"
        else
            say "JupyterLab"
        fi
        ;;
    esac

    # Prefer this environment's extensions and kernel to the user's.
    export JUPYTER_PREFER_ENV_PATH=1
    # Set as the default URL rather than as a file to open, so that the printed address includes it, too.
    exec "$python" -m jupyterlab --ServerApp.root_dir="$root" \
        --LabApp.default_url="/lab/tree/$notebook" ${arguments[@]+"${arguments[@]}"}
}

find_chromium() {
    local name
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        command -v "$name" && return
    done
    return 1
}

# apt_install [sudo...] -- PACKAGE...
apt_install() {
    local as_root=()
    while [ "$1" != -- ]; do
        as_root+=("$1")
        shift
    done
    shift
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# Sets EXCLIP_CHROMIUM, which the front-end tests and the end-to-end tests read.
need_chromium() {
    local as_root=()
    if [ -n "${EXCLIP_CHROMIUM:-}" ]; then
        [ -x "$EXCLIP_CHROMIUM" ] || die "EXCLIP_CHROMIUM=$EXCLIP_CHROMIUM is not an executable file."
    elif ! EXCLIP_CHROMIUM=$(find_chromium); then
        if ! command -v apt-get >/dev/null; then
            die "Chromium or Chrome is needed for the browser tests, and none was found." \
                "Install one, then: EXCLIP_CHROMIUM=/path/to/chromium scripts/test"
        fi
        if [ "$(id -u)" -ne 0 ]; then
            as_root=(sudo)
            [ -t 0 ] || as_root=(sudo -n)
            "${as_root[@]}" true 2>/dev/null ||
                die "Chromium is needed for the browser tests; installing it needs root, and sudo is not available." \
                    "As root: apt-get install chromium" \
                    "or, with a browser elsewhere: EXCLIP_CHROMIUM=/path/to/chromium scripts/test"
        fi
        say "Chromium"
        apt_install "${as_root[@]}" -- chromium fonts-dejavu-core
        EXCLIP_CHROMIUM=$(find_chromium)
    fi
    export EXCLIP_CHROMIUM
}

# Some tests open a written page in a stock Firefox; without one they are skipped. As root, this installs it.
want_firefox() {
    [ -n "${EXCLIP_FIREFOX:-}" ] || command -v firefox-esr >/dev/null || command -v firefox >/dev/null && return
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        say "Firefox"
        apt_install -- firefox-esr && return
    fi
    echo "No Firefox found: its tests are skipped. To run them, install Firefox or set EXCLIP_FIREFOX=/path/to/firefox" >&2
}
