"""gonogo: may this system move from Docker Swarm to K3s? The launcher and its verbs.

Works flat in a clone and nested in a wheel, where this file is `gonogo/__init__.py`:
the folder that holds the packages goes first on sys.path, before any of them is named.
Every verb is one file of `verbs/` and is imported only when it runs.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

ROOT = Path(__file__).resolve().parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import typer  # noqa: E402  after sys.path is right

__version__ = "0.1.0"

_HELP = """May this system move from Docker Swarm to K3s? Evidence, a verdict and a report.

Exit codes: 0 GO or done, 1 NO-GO (or lint findings), 2 usage, config or input,
3 INCONCLUSIVE or INVALID, 4 preflight or target refused, 5 clean-up incomplete,
6 gonogo itself failed, 130 / 143 interrupted after clean-up.
"""

app = typer.Typer(
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
lab_app = typer.Typer(
    help="The embedded lab: node hosts with a real Docker Swarm and a real Kubernetes.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
cutover_app = typer.Typer(
    help="Weighted shift with gates and a way back.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(lab_app, name="lab")
app.add_typer(cutover_app, name="cutover")

TargetOption = Annotated[str, typer.Option("--target", "-t", help="lab, noop, or a config file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine output on stdout.")]


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        typer.echo(f"gonogo {__version__}")
        raise typer.Exit


@app.command()
def run(
    target: TargetOption = "lab",
    profile: Annotated[str, typer.Option(help="smoke, nightly or cutover.")] = "smoke",
    expression: Annotated[str, typer.Option("-k", help="Run only the checks that match (pytest -k).")] = "",
    keep: Annotated[bool, typer.Option("--keep", help="Leave lab and workloads up at the end.")] = False,
    runs: Annotated[Path, typer.Option(help="Folder for run folders.")] = Path("runs"),
    allow: Annotated[
        list[str] | None, typer.Option(help="disruptive: break things on an existing target too.")
    ] = None,
) -> None:
    """The main job: deploy on both, check, compare, break, judge, report."""
    from verbs.run import run_command

    raise typer.Exit(run_command(target, profile, expression, keep=keep, runs=runs, allow=allow or []))


@app.command()
def plan(
    json_output: JsonOption = False,
    profile: Annotated[str, typer.Option(help="Show what blocks in this profile.")] = "smoke",
) -> None:
    """Print every criterion: id, owner, limit, where it blocks. Offline."""
    from verbs.plan import plan_command

    raise typer.Exit(plan_command(profile, json_output=json_output))


@app.command()
def doctor(target: TargetOption = "lab", json_output: JsonOption = False) -> None:
    """Preflight of this machine and of the target, each line with its fix."""
    from verbs.doctor import doctor_command

    raise typer.Exit(doctor_command(target, json_output=json_output))


@app.command()
def convert(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Compose or stack files, merged in order.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder for manifests and losses.json.")
    ] = None,
    env_file: Annotated[list[Path] | None, typer.Option(help="Values for ${...}; may be repeated.")] = None,
    duplicates: Annotated[str, typer.Option(help="Duplicate keys: error, or last.")] = "error",
    lint: Annotated[Path | None, typer.Option(help="Lint the manifests of a folder instead.")] = None,
    tiers: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Tiers of the services; default the sample's.")
    ] = None,
    policies: Annotated[
        bool, typer.Option("--policies/--no-policies", help="Network policies from networks and calls.")
    ] = True,
    ingress: Annotated[
        str, typer.Option(metavar="DOMAIN", help="Give published HTTP services hosts below this domain.")
    ] = "",
    wait_image: Annotated[
        str, typer.Option(metavar="IMAGE", help="Has sh and nc; waits for `service_healthy`.")
    ] = "",
    json_output: JsonOption = False,
) -> None:
    """Compose file to Kubernetes manifests by tier, with a list of what was lost."""
    from verbs.convert import convert_command

    raise typer.Exit(
        convert_command(
            files or [],
            out,
            env_files=env_file or [],
            duplicates=duplicates,
            lint=lint,
            json_output=json_output,
            tiers=tiers,
            policies=policies,
            ingress_domain=ingress,
            wait_image=wait_image,
        )
    )


@app.command()
def deploy(
    target: TargetOption = "lab",
    side: Annotated[str, typer.Option(help="swarm, kubernetes or both.")] = "both",
    json_output: JsonOption = False,
) -> None:
    """Deploy the workloads and wait until they are ready, as the main job does."""
    from verbs.deploy import deploy_command

    raise typer.Exit(deploy_command(target, side, json_output=json_output))


@app.command()
def provision(
    orchestrator: Annotated[str, typer.Argument(help="k3s or swarm.")],
    inventory: Annotated[Path, typer.Option(help="Inventory file of the hosts.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the steps, run none.")] = False,
) -> None:
    """Install an orchestrator on the hosts of an inventory."""
    from verbs.provision import provision_command

    raise typer.Exit(provision_command(orchestrator, inventory, dry_run=dry_run))


@app.command()
def report(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, such as runs/latest.")],
) -> None:
    """Render a run's report again, offline."""
    from verbs.report import report_command

    raise typer.Exit(report_command(run_dir))


@app.command()
def verify(run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]) -> None:
    """Recompute a run's verdict and find any edited byte."""
    from verbs.report import verify_command

    raise typer.Exit(verify_command(run_dir))


@app.command()
def diff(
    before: Annotated[Path, typer.Argument(metavar="RUN", help="The earlier run folder.")],
    after: Annotated[Path, typer.Argument(metavar="RUN", help="The later run folder.")],
    json_output: JsonOption = False,
) -> None:
    """What changed in versions and results between two runs."""
    from verbs.report import diff_command

    raise typer.Exit(diff_command(before, after, json_output=json_output))


@app.command()
def sweep(runs: Annotated[Path, typer.Option(help="Folder of run folders.")] = Path("runs")) -> None:
    """Finish the undo of runs that were killed."""
    from verbs.sweep import sweep_command

    raise typer.Exit(sweep_command(runs))


@app.command()
def compare(
    a: Annotated[str, typer.Option("--a", metavar="URL", help="The side that serves today.")],
    b: Annotated[str, typer.Option("--b", metavar="URL", help="The side that must be no slower.")],
    rate: Annotated[float, typer.Option(help="Requests a second, total of both sides.")],
    duration: Annotated[float, typer.Option(help="Seconds of judged load.")],
    mcp: Annotated[str, typer.Option(metavar="TOOL", help="Call this MCP tool instead of GET.")] = "",
    margin: Annotated[
        str, typer.Option(help="What B may be slower by: 10%, 1ms, or both (the larger counts).")
    ] = "10%,1ms",
    allow_host: Annotated[
        list[str] | None, typer.Option(help="A host to load besides loopback and lab; may be repeated.")
    ] = None,
    inventory: Annotated[Path | None, typer.Option(help="Hosts of this inventory may be loaded too.")] = None,
    json_output: JsonOption = False,
) -> None:
    """Is B no slower than A? Paired load on two URLs, a margin, four answers."""
    from verbs.compare import compare_command

    raise typer.Exit(
        compare_command(
            a,
            b,
            tool=mcp,
            rate=rate,
            duration=duration,
            margin=margin,
            allow_hosts=allow_host or [],
            inventory=inventory,
            json_output=json_output,
        )
    )


@app.command()
def signoff(
    criterion: Annotated[str, typer.Argument(help="A criterion of a person, such as operational.training.")],
    by: Annotated[str, typer.Option(help="Who answers for it.")],
    until: Annotated[str, typer.Option(metavar="DATE", help="Last day it holds, YYYY-MM-DD.")],
    note: Annotated[str, typer.Option(help="What was seen.")] = "",
    run_dir: Annotated[
        Path | None, typer.Option("--run", metavar="RUN", help="Write it into this finished run.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="Write it here; default signoffs.yaml, beside the config.")
    ] = None,
) -> None:
    """Write a person's answer to a criterion, with name and end date."""
    from verbs.signoff import signoff_command

    raise typer.Exit(signoff_command(criterion, by, until, note, run=run_dir, file=file))


@app.command()
def selftest(
    target: Annotated[str, typer.Option("--target", "-t", help="noop.")] = "noop",
    expression: Annotated[str, typer.Option("-k", help="Only the mutations whose name holds this.")] = "",
    json_output: JsonOption = False,
    write_proofs: Annotated[
        bool, typer.Option("--write-proofs", help="Write reports/red_proofs.json, which GO asks for.")
    ] = False,
) -> None:
    """Break every check on purpose and see it turn red, then back."""
    from reports.red_proof import SHIPPED
    from verbs.selftest import selftest_command

    raise typer.Exit(
        selftest_command(
            target, expression, json_output=json_output, proofs_file=SHIPPED if write_proofs else None
        )
    )


@cutover_app.command()
def rehearse(
    target: TargetOption = "lab",
    steps: Annotated[str, typer.Option(metavar="LIST", help="Percent to Kubernetes, rising to 100.")] = (
        "5,25,50,100"
    ),
    rate: Annotated[float, typer.Option(help="Requests a second through the entry.")] = 160.0,
    bound: Annotated[float, typer.Option(help="Hold a step for at most this many seconds.")] = 90.0,
    by: Annotated[str, typer.Option(help="Who rehearses; default the account's name.")] = "",
    keep: Annotated[bool, typer.Option("--keep", help="Leave lab and workloads up at the end.")] = False,
    runs: Annotated[Path, typer.Option(help="Folder for run folders.")] = Path("runs"),
    allow: Annotated[
        list[str] | None, typer.Option(help="disruptive: rehearse on an existing target too.")
    ] = None,
) -> None:
    """Rehearse the weighted shift: steps, gates, the way back, data, a post-mortem."""
    from verbs.cutover import rehearse_command

    raise typer.Exit(
        rehearse_command(
            target, steps=steps, rate=rate, bound=bound, by=by, keep=keep, runs=runs, allow=allow or []
        )
    )


@lab_app.command("up")
def lab_up(
    nodes: Annotated[int, typer.Option(min=3, max=5, help="Node hosts.")] = 3,
    parts: Annotated[
        list[str] | None, typer.Option("--part", help="A platform part to add, or `all`; repeatable.")
    ] = None,
) -> None:
    """Build what is missing, start the hosts, Swarm and Kubernetes. Repeatable."""
    from verbs.lab import lab_up_command

    raise typer.Exit(lab_up_command(nodes, parts or ()))


@lab_app.command("status")
def lab_status(json_output: JsonOption = False) -> None:
    """Which hosts and orchestrators are up."""
    from verbs.lab import lab_status_command

    raise typer.Exit(lab_status_command(json_output=json_output))


@lab_app.command("ssh", context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def lab_ssh(
    context: typer.Context, node: Annotated[str, typer.Argument(help="A node, such as node1.")]
) -> None:
    """Open a shell on a node, or run the command that follows."""
    from verbs.lab import lab_ssh_command

    raise typer.Exit(lab_ssh_command(node, context.args))


@lab_app.command("down")
def lab_down() -> None:
    """Remove exactly what `lab up` made; caches stay."""
    from verbs.lab import lab_down_command

    raise typer.Exit(lab_down_command())


def main(argv: list[str] | None = None) -> None:
    """Run the command line and leave with its documented exit code."""
    try:
        code: Any = app(args=argv, standalone_mode=False)
    except BrokenPipeError:  # stdout was closed, as `| head` does: quiet
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except BaseException as error:  # noqa: BLE001  the one place where errors become exit codes
        code = _exit_code(error)
    sys.exit(code or 0)


def _exit_code(error: BaseException) -> int:
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 6
    if isinstance(error, KeyboardInterrupt):
        typer.echo("interrupted", err=True)
        return 130
    show = getattr(error, "show", None)
    if callable(show):  # a usage error of the command line
        show()
        return 2
    code = getattr(error, "exit_code", None)
    if isinstance(code, int):
        message = str(error)
        if message:
            typer.echo(f"gonogo: {message}", err=True)
        return code
    import traceback

    traceback.print_exception(error)
    typer.echo(
        "gonogo: this is a defect of gonogo, not of your system; please report the lines above", err=True
    )
    return 6


if __name__ == "__main__":
    main()
