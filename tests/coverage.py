# coverage.py - lines and branches of crt.h over all test programs: see coverage.sh
#
#   coverage.py DIRECTORY [list]     DIRECTORY holds one NAME.json of llvm-cov for each program
#
# The implementation is compiled into every program, so what counts is the sum over programs, by
# place in the source: a line has run if it ran in one of them, a condition has been true if it was
# true in one of them. What never happened needs a reason in coverage.exempt.
import json, os, re, sys

FILES = ("crt.h", "crt_platform_epoll.h")
LINES_WANTED, BRANCHES_WANTED = 95.0, 85.0
here = os.path.dirname(os.path.abspath(__file__))
root = os.path.dirname(here)
directory, listing = sys.argv[1], "list" in sys.argv[2:]
text = {f: [""] + open(os.path.join(root, f)).read().split("\n") for f in FILES}


class File:
    def __init__(self):
        self.lines = {}      # line: times run
        self.branches = {}   # (line, column, line, column): [times true, times false]
        self.functions = {}  # name: (first line, last line)


def line_counts(segments):
    """llvm-cov's own rule: the largest count of the regions that touch the line."""
    by_line, counts = {}, {}
    for s in segments:
        by_line.setdefault(s[0], []).append(s)
    wrapped = None
    for line in range(segments[0][0], segments[-1][0] + 1):
        here_ = by_line.get(line, [])
        starts = [s for s in here_ if s[3] and s[4] and not s[5]]
        skipped = bool(here_) and not here_[0][3] and here_[0][4]
        mapped = not skipped and ((wrapped is not None and wrapped[3]) or bool(starts))
        if mapped:
            counts[line] = max([s[2] for s in starts] + ([wrapped[2]] if wrapped and wrapped[3] else []))
        if here_:
            wrapped = here_[-1]
    return counts


def through_macros(fn, names, files, caught):
    """Conditions that a test makes by a macro in place of a call (`#define listen(...) t_listen(...)`): clang has them
    where the macro stands. Into caught: the places in the source that lead there, the times true, the times false."""
    came_from = {r[6]: r for r in fn["regions"] if r[7] == 1}   # file number of the expansion: where it was
    whole = {}   # of each expansion only what it begins with: the rest are conditions in the arguments
    for b in fn["branches"]:
        if names[b[6]] not in files and (b[6] not in whole or b[:2] < whole[b[6]][:2]):
            whole[b[6]] = b
    for number, b in whole.items():
        places = []
        while number in came_from:
            r = came_from[number]
            number = r[5]
            if names[number] in files:
                places.append((names[number], r[0], r[1]))
        caught.append((places, b[4], b[5]))


def add_caught(files, caught):
    at_start = {(name,) + at[:2]: sides for name, f in files.items() for at, sides in f.branches.items()}
    for places, true, false in caught:
        for place in places:
            if place in at_start:
                at_start[place][0] += true
                at_start[place][1] += false
                break


def join_cut(files):
    """A condition that begins in the source and ends in such a macro, `!listen(...)`: clang has it up to the macro's
    name. It is the condition that goes on there, as the programs without the macro have it."""
    for name, f in files.items():
        for cut in sorted(f.branches):
            rest = text[name][cut[2]][cut[3] - 1:]
            whole = sorted(at for at in f.branches if at[:2] == cut[:2] and at[2:] > cut[2:])
            if rest.startswith("(") and whole:
                true, false = f.branches.pop(cut)
                f.branches[whole[0]][0] += true
                f.branches[whole[0]][1] += false


def read(path, files, caught):
    data = json.load(open(path))["data"][0]
    for f in data["files"]:
        name = os.path.basename(f["filename"])
        if name in files and f["segments"]:
            for line, n in line_counts(f["segments"]).items():
                files[name].lines[line] = files[name].lines.get(line, 0) + n
    for fn in data["functions"]:
        names = [os.path.basename(n) for n in fn["filenames"]]
        if names[0] in files and fn["regions"]:
            first = fn["regions"][0]
            files[names[0]].functions[fn["name"].split(":")[-1]] = (first[0], first[2])
        if names[0] in files:
            through_macros(fn, names, files, caught)
        for b in fn["branches"]:
            name = names[b[6]]
            if name in files:
                sides = files[name].branches.setdefault(tuple(b[:4]), [0, 0])
                sides[0] += b[4]
                sides[1] += b[5]


def spelled(name, at):
    """The condition's text, in one line."""
    lines = text[name][at[0]:at[2] + 1]
    lines[-1] = lines[-1][:at[3] - 1]
    lines[0] = lines[0][at[1] - 1:]
    return re.sub(r"\s+", " ", " ".join(lines)).strip()


def reasons():
    """Blocks of a reason, `= text`, and what it answers for, `function side text`."""
    found, reason = {}, None
    for n, line in enumerate(open(os.path.join(here, "coverage.exempt")), 1):
        line = line.rstrip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("="):
            reason = line[1:].strip()
            continue
        parts = line.split(None, 2)
        if len(parts) < 2 or not reason:
            sys.exit("coverage.exempt:%d: not understood: %s" % (n, line))
        found[tuple(parts)] = [reason, 0]
    return found


def main():
    files = {f: File() for f in FILES}
    programs = sorted(p for p in os.listdir(directory) if p.endswith(".json"))
    caught = []
    for p in programs:
        read(os.path.join(directory, p), files, caught)
    join_cut(files)
    add_caught(files, caught)
    exempt, unanswered, rows, failed = reasons(), [], [], False

    def function_of(name, line):
        inside = [(b - a, f) for f, (a, b) in files[name].functions.items() if a <= line <= b]
        return min(inside)[1] if inside else "-"

    def answered(*key):
        for k in (key, (key[0], "all")):
            if k in exempt:
                exempt[k][1] += 1
                return exempt[k][0]
        return None

    for name in FILES:
        f, section, sections = files[name], {}, []
        for n, line in enumerate(text[name]):
            m = re.match(r"// >>([a-z ]+?)(  |$)", line)
            if m or (name != "crt.h" and re.match(r"// -{60}", text[name][n - 1]) and re.match(r"// [a-z]", line)):
                sections.append(m.group(1) if m else line[3:])
            section[n] = sections[-1] if sections else "public"
        tally = {}

        def count(line, what, hit):
            for key in (section[line], "total"):
                t = tally.setdefault(key, [0, 0, 0, 0])
                t[what] += hit
                t[what + 1] += 1

        for line, n in sorted(f.lines.items()):
            if re.match(r"\s*([{}]*|//.*|#.*)$", text[name][line]):
                continue   # no code: a brace, a comment, a directive
            if n == 0 and "CRT_ASSERT(" in text[name][line - 1]:
                continue   # clang counts the line after an assertion for what follows its failure
            count(line, 0, n > 0)
            if n == 0:
                key = (function_of(name, line), "line", re.sub(r"\s+", " ", text[name][line]).strip())
                why = answered(*key)
                if not why:
                    unanswered.append((name, line) + key)
                elif listing:
                    print("%s:%d: %s: %s: %s  (%s)" % ((name, line) + key + (why,)))
        for at, sides in sorted(f.branches.items()):
            condition = spelled(name, at)
            for side, n in zip(("true", "false"), sides):
                # Whether an assertion fails is not a branch of the program.
                if side == "false" and "CRT_ASSERT(" in text[name][at[0]]:
                    continue
                count(at[0], 2, n > 0)
                if n:
                    continue
                key = (function_of(name, at[0]), side, condition)
                why = answered(*key)
                if not why and f.lines.get(at[0]) == 0:
                    why = answered(key[0], "line", re.sub(r"\s+", " ", text[name][at[0]]).strip())
                if not why and not any(u[:2] == (name, at[0]) and u[3] == "line" for u in unanswered):
                    unanswered.append((name, at[0]) + key)
                elif why and listing:
                    print("%s:%d: %s: %s: %s  (%s)" % ((name, at[0]) + key + (why,)))
        rows.append((name, sections, tally))

    print("%-24s %6s %6s %7s  %8s %6s %7s" % ("", "lines", "run", "%", "branches", "taken", "%"))
    for name, sections, tally in rows:
        for key in sections + ["public", "total"]:
            if key not in tally:
                continue
            lr, l, br, b = tally[key]
            print("%-24s %6d %6d %7s  %8d %6d %7s" % (
                name if key == "total" else "  " + key, l, lr, "%.1f" % (100.0 * lr / l) if l else "",
                b, br, "%.1f" % (100.0 * br / b) if b else ""))
        lr, l, br, b = tally["total"]
        if 100.0 * lr / l < LINES_WANTED or 100.0 * br / b < BRANCHES_WANTED:
            print("%s: fewer than %.0f %% of the lines or %.0f %% of the branches" % (name, LINES_WANTED, BRANCHES_WANTED))
            failed = True
    for u in unanswered:
        print("%s:%d: %s %s %s" % u)
    stale = [k for k, v in exempt.items() if not v[1]]
    if listing:
        for k in stale:
            print("coverage.exempt: happens after all: " + " ".join(k))
    print("coverage: %d programs, %d reasons given (%d of them not needed in this run), %d places without a reason"
          % (len(programs), len(exempt), len(stale), len(unanswered)))
    sys.exit(1 if failed or unanswered else 0)


main()
