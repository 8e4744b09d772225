#!/usr/bin/env python3
"""Rules on recorded series with labelled anomalies: precision, recall, alerts a day.

    python3 benches/nab/nab.py TIDEWATCH NAB [even|odd|all]...

TIDEWATCH: the binary. NAB: a copy of the Numenta Anomaly Benchmark (github.com/numenta/NAB), of
which the 47 series of the five "real" groups are taken, packed (.csv.gz) or not, and the combined
windows. Needs nothing but Python 3.

All series are one stream of events, replayed through the binary, some rules at a time; each is a metric, the mean of
its values in windows as long as the step of the series, with a rule for each row of the table below.
Alerts are read from the feed. An alert is right when the window that raised it ends within a labelled
stretch; a stretch is found when at least one alert is right about it.

Series are halved by their place in the alphabet: even ones are for choosing settings, odd ones are
looked at once they stand.
"""

import csv
import datetime
import gzip
import io
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.request

# One fixed setting each, for all series.
RULES = {
    # As shipped for 10 s windows: the mean of 60 windows.
    "sigma": lambda step: f'detect = "sigma"\nk = 3\nover = "{60 * step}s"\nsamples_min = 30',
    # The same with the k and (up to the most it takes, 7 days) the history of robust.
    "sigma_k6": lambda step: f'detect = "sigma"\nk = 6\nover = "{min(360 * step, 604_800)}s"\nsamples_min = 30',
    # Made to speak as seldom as the last one, on the even half.
    "sigma_seldom": lambda step: f'detect = "sigma"\nk = 12\nover = "{60 * step}s"\nsamples_min = 30',
    "robust": lambda step: 'detect = "robust"',
    "robust_recurs": lambda step: 'detect = "robust"\nrecurs = 3',
}
# Most rules of a configuration are 200: so many sorts of them at a time.
AT_ONCE = 4
GROUPS = "real"
STEPS = [300, 600, 900, 1200, 1800, 3600]


def series(root):
    """Name to (times in seconds, values as text), labelled windows, in order of the alphabet."""
    labels = next(p for p in root.rglob("*windows.json") if p.name in ("windows.json", "combined_windows.json"))
    labels = json.loads(labels.read_text())
    found = {}
    for path in sorted(root.rglob("*.csv*")):
        name = f"{path.parent.name}/{path.name.removesuffix('.gz')}"
        if path.parent.name.startswith(GROUPS) and name in labels:
            raw = path.read_bytes()
            text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
            rows = [(seconds(row["timestamp"]), row["value"]) for row in csv.DictReader(io.StringIO(text))]
            found[name] = (rows, [tuple(map(seconds, window)) for window in labels[name]])
    return dict(sorted(found.items()))


def seconds(text):
    moment = datetime.datetime.fromisoformat(text[:19]).replace(tzinfo=datetime.timezone.utc)
    return int(moment.timestamp())


def step_of(rows):
    """The median step, or the next longer one that windows may have."""
    gaps = sorted(b[0] - a[0] for a, b in zip(rows, rows[1:]) if b[0] > a[0])
    median = gaps[len(gaps) // 2]
    return next((step for step in STEPS if step >= median), STEPS[-1])


def config(found, rules):
    text = []
    for index, (name, (rows, _)) in enumerate(found.items()):
        step = step_of(rows)
        text.append(
            f'[[metric]]\nname = "m{index}"\nwhere = {{ type = "s{index}" }}\naggregate = "avg"\n'
            f'field = "value"\nwindow = {{ tumbling = "{step}s" }}\nkeep = "{30 * step}s"\n'
        )
        for rule, keys in rules.items():
            text.append(
                f'[[rule]]\nname = "{rule}_{index}"\nmetric = "m{index}"\nside = "both"\n{keys(step)}\n'
            )
    return "\n".join(text)


def alerts(binary, found, rules):
    """Rule to its alerts as (series, second)."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        events = sorted(
            (at, index, line, value)
            for index, (rows, _) in enumerate(found.values())
            for line, (at, value) in enumerate(rows)
        )
        with open(folder / "events.ndjson", "w") as out:
            for at, index, line, value in events:
                event = {"id": f"{index}-{line}", "ts": at * 1000, "type": f"s{index}", "user": f"u{index}",
                         "value": float(value)}
                out.write(json.dumps(event) + "\n")
        (folder / "rules.toml").write_text(config(found, rules))
        run = subprocess.Popen(
            [binary, "replay", str(folder / "events.ndjson"), "--json", "--hold", "--listen", "127.0.0.1:0",
             "--config", str(folder / "rules.toml")],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            url = None
            for line in run.stderr:
                address = re.search(r"http://[0-9.:]+", line)
                if address:
                    url = address[0]
                    break
            if url is None:
                sys.exit("the replay did not start: " + run.stdout.read())
            report = ""
            for line in run.stdout:
                report += line
                if line.startswith("}"):
                    break
            report = json.loads(report)
            print(f"{report['ledger']['applied']:,} events, {report['incidents']:,} incidents", file=sys.stderr)
            feed, after = [], 0
            while after is not None:
                with urllib.request.urlopen(f"{url}/v1/incident-log?after={after}&limit=1000") as answer:
                    page = json.load(answer)
                feed += [line for line in page["items"] if line["what"] == "fired"]
                after = page["next"]
        finally:
            run.terminate()
            run.wait()
    raised = {rule: [] for rule in rules}
    for line in feed:
        rule, index = line["rule"].rsplit("_", 1)
        raised[rule].append((int(index), line["at"] // 1000))
    return raised


def score(found, raised, half):
    """Of one rule on the series of one half."""
    all_series = list(found.values())
    chosen = [index for index in range(len(all_series)) if half is None or index % 2 == half]
    right = total = hits = windows = 0
    days = labelled = 0
    for index in chosen:
        rows, stretches = all_series[index]
        ats = [at for of, at in raised if of == index]
        inside = lambda at: any(start <= at <= end for start, end in stretches)
        right += sum(map(inside, ats))
        total += len(ats)
        hits += sum(any(start <= at <= end for at in ats) for start, end in stretches)
        windows += len(stretches)
        days += (rows[-1][0] - rows[0][0]) / 86_400
        labelled += sum(end - start for start, end in stretches) / 86_400
    return {
        "alerts": total, "right": right, "precision": right / max(total, 1), "hits": hits,
        "windows": windows, "recall": hits / windows, "a_day": total / days, "chance": labelled / days,
    }


def main():
    binary, root = os.path.abspath(sys.argv[1]), pathlib.Path(sys.argv[2])
    found = series(root)
    sorts, raised = list(RULES.items()), {}
    for first in range(0, len(sorts), AT_ONCE):
        raised |= alerts(binary, found, dict(sorts[first:first + AT_ONCE]))
    print("| series | rule | alerts | right | precision | found | recall | alerts a day and series |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    halves = {"even": 0, "odd": 1, "all": None}
    for words, half in halves.items():
        if words not in (sys.argv[3:] or halves):
            continue
        for rule in RULES:
            s = score(found, raised[rule], half)
            print(f"| {words} | {rule} | {s['alerts']} | {s['right']} | {s['precision']:.0%} | "
                  f"{s['hits']} of {s['windows']} | {s['recall']:.0%} | {s['a_day']:.2f} |")
        print(f"| {words} | chance | | | {s['chance']:.0%} | | | |")


if __name__ == "__main__":
    main()
