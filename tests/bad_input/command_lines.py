"""Command lines whose arguments or options are missing, contradict each other or are out of range."""

from __future__ import annotations

from tests.bad_input.cases import RUN, USAGE, Case


def usage(command: str, *lines: str, **files: str) -> Case:
    """Return the case of a wrong command line."""
    return Case((command,), USAGE, lines, {f"{name}.csv": content for name, content in files.items()})


def in_run(command: str, place: str, option: str = "--out") -> Case:
    """Return the case of a place inside a run."""
    return Case((command,), RUN, (f"{place} is in the run HERE/run; choose another {option}.",), prepare=lambda _: None)


def refused(command: str, *lines: str, **files: str) -> Case:
    """Return the case of a folder in which nothing may be written."""
    return Case((command,), RUN, lines, {f"{name}/keep.txt": content for name, content in files.items()})


PREDICT = "predict run trained.csv --out out"
EXPLAIN = "explain run trained.csv --out out --quiet"
BATCH = "batch run trained.csv --out out --quiet"
LONG = "a" * 300
CLUSTER = (
    "--max-memory: expected without --scheduler, whose workers have limits of their own; got both. "
    "Leave one of them out."
)

CASES: dict[str, Case] = {
    "unknown command": usage(
        "trian config.yaml", "cde: no such command 'trian'. Did you mean 'train'? See `cde --help`."
    ),
    "unknown option": usage(
        "train config.yaml --owt runs/a",
        ("cde train: no such option: --owt (Possible options: --out, --overwrite, --set) See `cde train --help`."),
    ),
    "configuration missing": usage("train", "cde train: missing argument 'CONFIG'. See `cde train --help`."),
    "option without a value": usage(
        "predict run trained.csv --out", "cde: option '--out' requires an argument. See `cde --help`."
    ),
    "one argument too many": usage(
        f"{PREDICT} more", "cde predict: got unexpected extra argument(s) (more) See `cde predict --help`."
    ),
    "empty path": usage(
        "info ''", "cde info: invalid value for 'RUN': expected a path; got ''. See `cde info --help`."
    ),
    "path of 300 letters": usage(
        f"predict run trained.csv --out {LONG}",
        (
            "cde predict: invalid value for '--out': expected a path; got "
            "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...': File name too long. "
            "See `cde predict --help`."
        ),
    ),
    "path of 9000 letters": usage(
        f"info {'a/' * 4500}",
        (
            "cde info: invalid value for 'RUN': expected a path; got "
            "'a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/...': File name too long. "
            "See `cde info --help`."
        ),
    ),
    "standard input as a folder": usage(
        "predict run trained.csv --out -",
        (
            "cde predict: invalid value for '--out': expected a folder; got '-'. Write ./- for a "
            "folder of that name. See `cde predict --help`."
        ),
    ),
    "standard input without a run directory": usage(
        "train -", "--out: expected a run directory when CONFIG is standard input; got nothing."
    ),
    "train: resume and overwrite": usage(
        "train config.yaml --resume --overwrite",
        ("--resume and --overwrite: expected one of them; got both. Resume keeps, overwrite replaces."),
    ),
    "train: below a run": in_run("train config.yaml --out run/posterior/x --quiet", "run/posterior/x"),
    "train: over a folder of a run": in_run("train config.yaml --out run/plots --overwrite --quiet", "run/plots"),
    "train: no threads": usage(
        "train config.yaml --threads 0",
        (
            "cde train: invalid value for '--threads': expected a whole number of at least 1; got '0'. "
            "See `cde train --help`."
        ),
    ),
    "train: half a thread": usage(
        "train config.yaml --threads 0.5",
        (
            "cde train: invalid value for '--threads': expected a whole number of at least 1; got '0.5'. "
            "See `cde train --help`."
        ),
    ),
    "train: threads as Python writes them": usage(
        "train config.yaml --threads 1_0",
        (
            "cde train: invalid value for '--threads': expected a whole number of at least 1; got '1_0'. "
            "See `cde train --help`."
        ),
    ),
    "predict: digits of another script": usage(
        f"{PREDICT} --samples １",
        (
            "cde predict: invalid value for '--samples': expected a whole number of at least 0; got '１'. "
            "See `cde predict --help`."
        ),
    ),
    "train: no workers": usage(
        "train config.yaml --workers 0",
        (
            "cde train: invalid value for '--workers': expected a whole number of at least 1; got '0'. "
            "See `cde train --help`."
        ),
    ),
    "train: unknown executor": usage(
        "train config.yaml --executor cloud",
        (
            "cde train: invalid value for '--executor': Value error, 'cloud' is not one of 'serial', "
            "'processes', 'dask'. See `cde train --help`."
        ),
    ),
    "train: scheduler of processes": usage(
        "train config.yaml --executor processes --scheduler tcp://host:8786",
        (
            "--scheduler: expected with --executor dask; got 'tcp://host:8786' with --executor "
            "processes. Leave one of them out."
        ),
    ),
    "train: a size of no unit": usage(
        "train config.yaml --max-memory 2XB",
        (
            "cde train: invalid value for '--max-memory': expected a size such as 2GB or 500MB; got "
            "'2XB'. See `cde train --help`."
        ),
    ),
    "train: a limit for a cluster": usage("train config.yaml --max-memory 2GB --scheduler tcp://host:8786", CLUSTER),
    "predict: no memory": usage(
        f"{PREDICT} --max-memory 0",
        (
            "cde predict: invalid value for '--max-memory': expected a size such as 2GB or 500MB; got "
            "'0'. See `cde predict --help`."
        ),
    ),
    "batch: half a unit": usage(
        f"{BATCH} --max-memory 2i",
        (
            "cde batch: invalid value for '--max-memory': expected a size such as 2GB or 500MB; got "
            "'2i'. See `cde batch --help`."
        ),
    ),
    "batch: a limit for a cluster": usage(f"{BATCH} --max-memory 2GB --scheduler tcp://host:8786", CLUSTER),
    "init: no target": usage("init table.csv", "cde init: missing option '--target'. See `cde init --help`."),
    "init: the file exists": usage(
        "init table.csv --target a -o config.yaml", "config.yaml exists; choose another --output, or pass --overwrite."
    ),
    "init: over a file of a run": in_run(
        "init table.csv --target a -o run/config.yaml --overwrite", "run/config.yaml", "--output"
    ),
    "init: a folder that cannot be": usage(
        "init table.csv --target a -o config.yaml/new.yaml",
        "config.yaml/new.yaml: expected a file that can be written; got 'File exists'.",
    ),
    "predict: no folder": usage(
        "predict run trained.csv", "cde predict: missing option '--out'. See `cde predict --help`."
    ),
    "predict: fewer than no draws": usage(
        f"{PREDICT} --samples -1",
        (
            "cde predict: invalid value for '--samples': expected a whole number of at least 0; got '-1'. "
            "See `cde predict --help`."
        ),
    ),
    "predict: half a draw": usage(
        f"{PREDICT} --samples 1.5",
        (
            "cde predict: invalid value for '--samples': expected a whole number of at least 0; got '1.5'. "
            "See `cde predict --help`."
        ),
    ),
    "predict: quantiles that are none": usage(
        f"{PREDICT} --quantiles 0.1,x,1.5",
        "--quantiles: expected numbers between 0 and 1, separated by commas; got 'x'.",
        "--quantiles: expected numbers between 0 and 1, separated by commas; got '1.5'.",
    ),
    "predict: quantile twice": usage(
        f"{PREDICT} --quantiles 0.5,0.50", "--quantiles: expected every number once; got '0.50' again."
    ),
    "predict: quantile 0": usage(
        f"{PREDICT} --quantiles 0", "--quantiles: expected numbers between 0 and 1, separated by commas; got '0'."
    ),
    "predict: quantile that rounds to 1": usage(
        f"{PREDICT} --quantiles 0.99999999999999999",
        ("--quantiles: expected numbers between 0 and 1, separated by commas; got '0.99999999999999999'."),
    ),
    "predict: NaN as a quantile": usage(
        f"{PREDICT} --quantiles nan", "--quantiles: expected numbers between 0 and 1, separated by commas; got 'nan'."
    ),
    "predict: interval of more than everything": usage(
        f"{PREDICT} --interval 90", "--interval: expected numbers between 0 and 1, separated by commas; got '90'."
    ),
    "predict: region of nothing": usage(
        f"{PREDICT} --hdi 0", "--hdi: expected numbers between 0 and 1, separated by commas; got '0'."
    ),
    "predict: grid of one point": usage(
        f"{PREDICT} --grid 1",
        (
            "cde predict: invalid value for '--grid': expected a whole number from 2 to 1000000; got '1'. "
            "See `cde predict --help`."
        ),
    ),
    "predict: infinite point": usage(f"{PREDICT} --at inf", "--at: expected numbers, separated by commas; got 'inf'."),
    "predict: threshold without a sign": usage(
        f"{PREDICT} --threshold a",
        ("--threshold: expected TARGET>NUMBER, TARGET<@COLUMN or NUMBER<TARGET<NUMBER; got 'a'. Correct the text."),
    ),
    "predict: threshold of nothing": usage(
        f"{PREDICT} --threshold ''",
        ("--threshold: expected TARGET>NUMBER, TARGET<@COLUMN or NUMBER<TARGET<NUMBER; got ''. Correct the text."),
    ),
    "predict: threshold of another target": usage(
        f"{PREDICT} --threshold 'c>1'",
        (
            "--threshold: expected TARGET>NUMBER, TARGET<@COLUMN or NUMBER<TARGET<NUMBER with one of "
            "the targets 'a', 'b'; got 'c>1'. Name a target."
        ),
    ),
    "predict: threshold of NaN": usage(
        f"{PREDICT} --threshold 'a>nan'",
        (
            "--threshold: expected TARGET>NUMBER, TARGET<@COLUMN or NUMBER<TARGET<NUMBER; got "
            "'a>nan', in which 'nan' is no number. Write @nan for a column."
        ),
    ),
    "predict: limits in the wrong order": usage(
        f"{PREDICT} --threshold '2<a<1'",
        "--threshold: expected a lower limit below the upper one; got '2<a<1'. Exchange them.",
    ),
    "predict: signs in two directions": usage(
        f"{PREDICT} --threshold '1<a>2'",
        (
            "--threshold: expected TARGET>NUMBER, TARGET<@COLUMN or NUMBER<TARGET<NUMBER; got "
            "'1<a>2', whose signs point in two directions. Correct the text."
        ),
    ),
    "predict: given twice": usage(f"{PREDICT} --given a,a", "--given: expected every column once; got 'a' again."),
    "predict: given all": usage(
        f"{PREDICT} --given a,b",
        ("--given: expected some of the targets 'a', 'b'; got all of them. Leave out what is to be predicted."),
    ),
    "predict: given what is no target": usage(
        f"{PREDICT} --given x", "--given: expected some of the targets 'a', 'b'; got 'x'. Correct the name."
    ),
    "predict: keeping nothing": usage(
        f"{PREDICT} --keep ,", "--keep: expected names of columns, separated by commas; got ','."
    ),
    "predict: totals of nothing": usage(
        f"{PREDICT} --total-by ''", "--total-by: expected a column of the table; got ''."
    ),
    "predict: totals and none": usage(
        f"{PREDICT} --no-total --total-by region",
        "--no-total: expected without --total-by; got --total-by 'region'. Leave one out.",
    ),
    "predict: Excel": usage(
        f"{PREDICT} --format xlsx",
        (
            "cde predict: invalid value for '--format': Value error, 'xlsx' is not one of 'csv', "
            "'parquet'. See `cde predict --help`."
        ),
    ),
    "predict: negative seed": usage(
        f"{PREDICT} --seed -1",
        (
            "cde predict: invalid value for '--seed': expected a whole number of at least 0; got '-1'. "
            "See `cde predict --help`."
        ),
    ),
    "predict: unknown way with faults": usage(
        f"{PREDICT} --on-fault ignore",
        (
            "cde predict: invalid value for '--on-fault': Value error, 'ignore' is not one of "
            "'stop', 'skip'. See `cde predict --help`."
        ),
    ),
    "predict: into a run": refused(
        "predict run trained.csv --out run --overwrite",
        "run is a run; choose another --out.",
    ),
    "predict: below a run": in_run("predict run trained.csv --out run/posterior/p --overwrite", "run/posterior/p"),
    "predict: over a run's pictures": in_run("predict run trained.csv --out run/plots --overwrite", "run/plots"),
    "predict: into the place of a file": refused(
        "predict run trained.csv --out table.csv", "table.csv exists and is not a folder; choose another --out."
    ),
    "predict: below a file": refused(
        "predict run trained.csv --out table.csv/out",
        "table.csv/out: expected a folder that can be made; got 'Not a directory'.",
    ),
    "predict: into a folder of others": refused(
        "predict run trained.csv --out thesis --overwrite",
        "thesis: expected only predictions; got 'keep.txt'. Move it, or choose another --out.",
        thesis="",
    ),
    "predict: where nothing can be made": refused(
        "predict run trained.csv --out /proc/out",
        "/proc/out: expected a folder that can be made; got 'No such file or directory'.",
    ),
    "batch: no tables": usage(
        "batch run --out out", "cde batch: missing argument 'INPUTS...'. See `cde batch --help`."
    ),
    "batch: below a run": in_run("batch run trained.csv --out run/b", "run/b"),
    "batch: standard input": usage(
        "batch run - --out out",
        "INPUTS: expected files, folders or globs; got '-'. Use cde predict for standard input.",
    ),
    "batch: around its tables": refused(
        "batch run table.csv --out . --executor serial",
        ". holds the table table.csv, which predictions may replace; choose another --out.",
    ),
    "batch: into a run": refused(
        "batch run trained.csv --out run --executor serial", "run is a run; choose another --out."
    ),
    "scheduler that is no address": usage(
        f"{BATCH} --scheduler nonsense",
        (
            "--scheduler: expected the address of a Dask scheduler that answers, such as "
            "tcp://host:8786; got 'nonsense'. Correct it, or start one with: dask scheduler"
        ),
    ),
    "scheduler without a host": usage(
        f"{BATCH} --scheduler tcp://",
        (
            "--scheduler: expected the address of a Dask scheduler that answers, such as "
            "tcp://host:8786; got 'tcp://'. Correct it, or start one with: dask scheduler"
        ),
    ),
    "scheduler without a port": usage(
        f"{BATCH} --scheduler tcp://127.0.0.1",
        (
            "--scheduler: expected the address of a Dask scheduler that answers, such as "
            "tcp://host:8786; got 'tcp://127.0.0.1'. Correct it, or start one with: dask scheduler"
        ),
    ),
    "scheduler at a port of letters": usage(
        f"{BATCH} --scheduler tcp://127.0.0.1:x",
        (
            "--scheduler: expected the address of a Dask scheduler that answers, such as "
            "tcp://host:8786; got 'tcp://127.0.0.1:x'. Correct it, or start one with: dask scheduler"
        ),
    ),
    "scheduler at a port that is none": usage(
        f"{BATCH} --scheduler tcp://127.0.0.1:99999",
        (
            "--scheduler: expected the address of a Dask scheduler that answers, such as "
            "tcp://host:8786; got 'tcp://127.0.0.1:99999'. Correct it, or start one with: dask "
            "scheduler"
        ),
    ),
    "scheduler that does not answer": usage(
        f"{BATCH} --scheduler tcp://127.0.0.1:1",
        (
            "--scheduler: expected the address of a Dask scheduler that answers, such as "
            "tcp://host:8786; got 'tcp://127.0.0.1:1'. Correct it, or start one with: dask scheduler"
        ),
    ),
    "scheduler of an unknown protocol": usage(
        f"{BATCH} --scheduler gopher://127.0.0.1:1",
        (
            "--scheduler: expected the address of a Dask scheduler that answers, such as "
            "tcp://host:8786; got 'gopher://127.0.0.1:1'. Correct it, or start one with: dask "
            "scheduler"
        ),
    ),
    "scheduler with an escape sequence": usage(
        f"{BATCH} --scheduler '\x1b[2J'",
        (
            "--scheduler: expected the address of a Dask scheduler that answers, such as "
            "tcp://host:8786; got '\\x1b[2J'. Correct it, or start one with: dask scheduler"
        ),
    ),
    "scheduler of nothing": usage(
        f"{BATCH} --scheduler ''",
        (
            "--scheduler: expected the address of a Dask scheduler that answers, such as "
            "tcp://host:8786; got ''. Correct it, or start one with: dask scheduler"
        ),
    ),
    "evaluate: gate without a number": usage(
        "evaluate run --gate crps", "--gate: expected KEY>NUMBER, with >, >=, < or <=; got 'crps'."
    ),
    "evaluate: gate of NaN": usage(
        "evaluate run --gate 'crps>nan'", "--gate: expected KEY>NUMBER, with >, >=, < or <=; got 'crps>nan'."
    ),
    "evaluate: gate on equality": usage(
        "evaluate run --gate 'crps_skill=1'", "--gate: expected KEY>NUMBER, with >, >=, < or <=; got 'crps_skill=1'."
    ),
    "evaluate: gate on an unknown score": usage(
        "evaluate run --gate 'no_such_score>1'",
        "--gate: expected a score; got 'no_such_score'; `cde evaluate RUN --json` shows the keys.",
    ),
    "evaluate: gate on another target": usage(
        "evaluate run --gate 'crps.per_target.c<1'",
        "--gate: expected a score; got 'crps.per_target.c'; did you mean 'crps.per_target.b'?",
    ),
    "evaluate: threshold that is none": usage(
        "evaluate run --threshold 'a>>1'",
        ("--threshold: expected TARGET>NUMBER, TARGET<@COLUMN or NUMBER<TARGET<NUMBER; got 'a>>1'. Correct the text."),
    ),
    "evaluate: pictures of nothing": usage(
        "evaluate run --out pictures", "--out: expected --threshold with it, whose pictures go there; got none."
    ),
    "evaluate: target of a run": usage(
        "evaluate run --target a", "--target: expected --samples, --quantiles or --normal with it; got none."
    ),
    "evaluate: pictures into a run": refused(
        "evaluate run trained.csv --threshold 'a>0' --out run", "run is a run; choose another --out."
    ),
    "diagnose: unknown option": usage(
        "diagnose run --deep",
        ("cde diagnose: no such option: --deep (Possible options: --help) See `cde diagnose --help`."),
    ),
    "explain: one row": usage(f"{EXPLAIN} --rows 1", "--rows: expected at least 2; got 1. Write a larger number."),
    "explain: rows as a word": usage(
        f"{EXPLAIN} --rows many",
        ("cde explain: invalid value for '--rows': expected a whole number; got 'many'. See `cde explain --help`."),
    ),
    "explain: no repeats": usage(
        f"{EXPLAIN} --repeats 0", "--repeats: expected at least 1; got 0. Write a larger number."
    ),
    "explain: fewer than no shares": usage(
        f"{EXPLAIN} --shares -1", "--shares: expected at least 0; got -1. Write a larger number."
    ),
    "explain: group without a name": usage(
        f"{EXPLAIN} --group =x,region",
        ("--group: expected NAME=A,B with inputs of the run; got '=x,region'. Write place=lat,long."),
    ),
    "explain: group of nothing": usage(
        f"{EXPLAIN} --group g=", "--group: expected NAME=A,B with inputs of the run; got 'g='. Write place=lat,long."
    ),
    "explain: group of an unknown input": usage(
        f"{EXPLAIN} --group g=x,regoin",
        "--group: expected inputs of the run, 'x', 'region'; got 'regoin'. Did you mean 'region'?",
    ),
    "explain: group twice": usage(
        f"{EXPLAIN} --group g=x,region --group g=x,region", "--group: expected every name once; got 'g' again."
    ),
    "explain: threshold of a column": usage(
        f"{EXPLAIN} --threshold 'a>@x'",
        ("--threshold: expected numbers as limits, which are the same in every row; got 'a>@x'. Write a number."),
    ),
    "explain: into a run": refused("explain run trained.csv --out run --quiet", "run is a run; choose another --out."),
    "explain: into the place of a file": refused(
        "explain run trained.csv --out table.csv --quiet",
        "table.csv: expected a folder that can be made; got 'File exists'.",
    ),
    "drift: no table": usage("drift run", "cde drift: missing argument 'DATA'. See `cde drift --help`."),
    "drift: level of nothing": usage(
        "drift run trained.csv --level 0",
        (
            "cde drift: invalid value for '--level': expected a number from 1e-09 to 0.5; got '0'. "
            "See `cde drift --help`."
        ),
    ),
    "drift: level of a word": usage(
        "drift run trained.csv --level low",
        (
            "cde drift: invalid value for '--level': expected a number from 1e-09 to 0.5; got 'low'. "
            "See `cde drift --help`."
        ),
    ),
    "drift: gate on an unknown size": usage(
        "drift run trained.csv --gate 'drift.input<1'",
        "--gate: expected a score; got 'drift.input'; did you mean 'drift.inputs'?",
    ),
    "drift: gate without a sign": usage(
        "drift run trained.csv --gate drift.inputs",
        "--gate: expected KEY>NUMBER, with >, >=, < or <=; got 'drift.inputs'.",
    ),
    "cv: no folder": usage("cv config.yaml", "cde cv: missing option '--out'. See `cde cv --help`."),
    "cv: one fold": usage(
        "cv config.yaml --out cv --folds 1 --quiet",
        "--folds: expected at least 2 and at most 1000; got 1. Write for example --folds 5.",
    ),
    "cv: folds as a word": usage(
        "cv config.yaml --out cv --folds many",
        "cde cv: invalid value for '--folds': expected a whole number; got 'many'. See `cde cv --help`.",
    ),
    "cv: missing configuration": usage(
        "cv nothing.yaml --out cv --quiet",
        (
            "nothing.yaml: expected a configuration file; got no such file. Check the path, or write "
            "a configuration with `cde init`."
        ),
    ),
    "cv: into a folder of others": refused(
        "cv config.yaml --out thesis --quiet",
        "thesis exists and is no cross-validation; choose another --out.",
        thesis="",
    ),
    "sweep: no trials": usage(
        "sweep config.yaml --trials 0 --out s --quiet",
        "--trials: expected at least 1; got 0. Write for example --trials 20.",
    ),
    "sweep: trials as a word": usage(
        "sweep config.yaml --trials many --out s",
        ("cde sweep: invalid value for '--trials': expected a whole number; got 'many'. See `cde sweep --help`."),
    ),
    "sweep: nothing to search": usage(
        "sweep config.yaml --trials 3 --out s --quiet",
        (
            "config.yaml:1:1: sweep: missing key; expected the settings that a sweep varies. Add for "
            "example `sweep: {space: {training.learning_rate: {low: 0.001, high: 0.1, log: true}}}`"
        ),
    ),
    "sweep: missing configuration": usage(
        "sweep nothing.yaml --trials 3 --out s --quiet",
        (
            "nothing.yaml: expected a configuration file; got no such file. Check the path, or write "
            "a configuration with `cde init`."
        ),
    ),
    "plot: PDF": usage(
        "plot run --format pdf",
        (
            "cde plot: invalid value for '--format': Value error, 'pdf' is not one of 'png', 'svg'. "
            "See `cde plot --help`."
        ),
    ),
    "plot: into a run": in_run("plot run --out run/posterior", "run/posterior"),
    "plot: a table without a folder": usage(
        "plot run trained.csv",
        (
            "cde plot: invalid value for --out: expected a folder, as pictures of another table do "
            "not belong to the run; got none. See `cde plot --help`."
        ),
    ),
    "explore: port that is none": usage(
        "explore run --port 99999",
        (
            "cde explore: invalid value for '--port': expected a whole number from 0 to 65535; got '99999'. "
            "See `cde explore --help`."
        ),
    ),
    "explore: port as a word": usage(
        "explore run --port http",
        (
            "cde explore: invalid value for '--port': expected a whole number from 0 to 65535; got 'http'. "
            "See `cde explore --help`."
        ),
    ),
    "compare: no run": usage("compare", "cde compare: missing argument 'RUN...'. See `cde compare --help`."),
    "simulate: unknown kind": usage(
        "simulate trimodal --out t.csv",
        (
            "cde simulate: invalid value for 'kind': Value error, 'trimodal' is not one of "
            "'bimodal', 'heteroscedastic', 'skewed', 'heavy_tailed', 'ring', 'irrelevant', "
            "'independent', 'censored'. See `cde simulate --help`."
        ),
    ),
    "simulate: no rows": usage(
        "simulate ring --out t.csv --rows 0",
        (
            "cde simulate: invalid value for '--rows': expected a whole number of at least 1; got '0'. "
            "See `cde simulate --help`."
        ),
    ),
    "simulate: negative seed": usage(
        "simulate ring --out t.csv --seed -1",
        (
            "cde simulate: invalid value for '--seed': expected a whole number of at least 0; got '-1'. "
            "See `cde simulate --help`."
        ),
    ),
    "simulate: Parquet": usage(
        "simulate ring --out t.parquet", "--out: expected the name of a CSV; got t.parquet. Choose another."
    ),
    "simulate: truth in the table": usage(
        "simulate ring --out t.csv --truth ./t.csv",
        "--truth: expected a file other than the table; got t.csv. Choose another.",
    ),
    "simulate: a file exists": usage(
        "simulate ring --out table.csv", "table.csv exists; choose another file, or pass --overwrite."
    ),
    "simulate: over a file of a run": in_run("simulate ring --out run/STATUS --overwrite", "run/STATUS"),
    "simulate: truth into a run": in_run("simulate ring --out t.csv --truth run/t.csv", "run/t.csv", "--truth"),
    "simulate: below a file": usage(
        "simulate ring --out table.csv/t.csv",
        "table.csv/t.csv: expected a file that can be written; got 'File exists'.",
    ),
    "simulate: into the place of a folder": usage(
        "simulate ring --out run --overwrite",
        "run: expected a file that may be replaced; got a folder or a device. Choose another.",
    ),
    "simulate: truth below a file": usage(
        "simulate ring --out t.csv --truth table.csv/t.csv",
        "table.csv/t.csv: expected a file that can be written; got 'File exists'.",
    ),
    "selftest: unknown kind": usage(
        "selftest --kinds ring,trimodal",
        (
            "--kinds: expected some of 'bimodal', 'heteroscedastic', 'skewed', 'heavy_tailed', "
            "'ring', 'irrelevant', 'independent'; got 'trimodal'; did you mean 'bimodal'?"
        ),
    ),
    "selftest: no kind": usage("selftest --kinds ,", "--kinds: expected names of kinds, separated by commas; got ','."),
    "selftest: kind twice": usage("selftest --kinds ring,ring", "--kinds: expected every kind once; got 'ring' again."),
    "doctor: unknown option": usage("doctor --fix", "cde doctor: no such option: --fix. See `cde doctor --help`."),
    "config: unknown command": usage("config edit", "cde config: no such command 'edit'. See `cde config --help`."),
}
