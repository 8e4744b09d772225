#!/bin/sh
# Fetches the vendored browser libraries again, as released, and rewrites the checksum list.
# Needs npm and sha256sum. A new version is a change of the lists below and of the paths in
# index.html and js/dom.js; tests/vendored.rs then compares every file with the list.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# fetch PACKAGE VERSION: unpacks the released package into $work/PACKAGE.
fetch() {
    mkdir -p "$work/$1"
    archive=$(cd "$work" && npm pack --silent "$1@$2")
    tar -xzf "$work/$archive" -C "$work/$1" --strip-components=1
}

# keep DIRECTORY PACKAGE FILE [NAME]: copies one file of a package into a vendor directory.
keep() {
    mkdir -p "$1"
    cp "$work/$2/$3" "$1/${4:-$(basename "$3")}"
    chmod 644 "$1/${4:-$(basename "$3")}"
}

fetch uplot 1.6.32
fetch htm 3.1.1
# htm's standalone module carries preact inside; only its licence is taken from here.
fetch preact 10.5.15

rm -rf uPlot-* htm-*
keep uPlot-1.6.32 uplot dist/uPlot.iife.min.js
keep uPlot-1.6.32 uplot dist/uPlot.min.css
keep uPlot-1.6.32 uplot LICENSE
keep htm-3.1.1 htm preact/standalone.module.js
keep htm-3.1.1 htm LICENSE
keep htm-3.1.1 preact LICENSE LICENSE-preact

find . -type f ! -name CHECKSUMS.sha256 ! -name refresh.sh | sed 's|^\./||' | LC_ALL=C sort |
    xargs sha256sum >CHECKSUMS.sha256
