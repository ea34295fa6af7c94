"""The arguments of a cluster's processes: what an administrator lays into the data directory becomes a flag that the server takes."""

import pytest

from pybernetes.apiserver.command import apiserver
from pybernetes.cluster.components import apiserver_arguments
from pybernetes.cluster.layout import Layout, Settings

FILES = {
    "encryption.yaml": "encryption_provider_config",
    "audit-policy.yaml": "audit_policy_file",
    "authentication.yaml": "authentication_config",
    "authorization.yaml": "authorization_config",
    "admission.yaml": "admission_control_config_file",
}


def flags(layout):
    """As the server reads them. It raises for what it does not know."""
    context = apiserver.make_context("apiserver", apiserver_arguments(layout, Settings())[1:])
    given = {n for n in context.params if context.get_parameter_source(n).name == "COMMANDLINE"}
    return context.params, given


@pytest.mark.parametrize("name", FILES)
def test_files_in_the_data_directory(tmp_path, name):
    layout = Layout.of(tmp_path)
    params, given = flags(layout)
    assert params["authorization_mode"] == ("Node", "RBAC")
    assert given.isdisjoint(FILES.values())
    (tmp_path / name).write_text("")
    params, given = flags(layout)
    assert params[FILES[name]] == str(tmp_path / name)
    assert ("authorization_mode" in given) is (name != "authorization.yaml"), "the file and the mode exclude each other"
    if name == "audit-policy.yaml":
        assert params["audit_log_mode"] == "batch"
