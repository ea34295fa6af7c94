"""``--oidc-*``: one issuer of tokens by flags, as an entry of AuthenticationConfiguration's ``jwt`` says it. Only ``command`` imports this."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

FLAGS: list[Any] = [
    click.option("--oidc-issuer-url", default="", help="Issuer of OpenID tokens that are believed (https)."),
    click.option("--oidc-client-id", default="", help="Audience that its tokens must have."),
    click.option("--oidc-username-claim", default="sub", show_default=True, help="Claim with the user's name."),
    click.option("--oidc-username-prefix", default="", help="Before the name; - is none [the issuer and #, but for email]."),
    click.option("--oidc-groups-claim", default="", help="Claim with the groups."),
    click.option("--oidc-groups-prefix", default="", help="Before each group."),
    click.option("--oidc-required-claim", multiple=True, help="claim=value that tokens must have."),
    click.option("--oidc-signing-algs", default="RS256", show_default=True, help="Algorithms of signatures, by commas."),
    click.option("--oidc-ca-file", default="", help="Authority of the issuer's server (PEM) [the system's]."),
]  # fmt: skip


def settings_of(flags: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """Raises ValueError or OSError."""
    given = [n for n in flags.get("given", ()) if n.startswith("oidc_")]
    if flags["authentication_config"]:
        if given:
            raise ValueError("authentication-config file and oidc-* flags are mutually exclusive")
        return ()
    issuer, audience = flags["oidc_issuer_url"], flags["oidc_client_id"]
    if not issuer or not audience:
        if given:
            raise ValueError(
                "oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set"
            )
        return ()
    claim, prefix = flags["oidc_username_claim"], flags["oidc_username_prefix"]
    if not prefix and claim != "email":
        prefix = f"{issuer}#"
    mappings: dict[str, Any] = {"username": {"claim": claim, "prefix": "" if prefix == "-" else prefix}}
    if flags["oidc_groups_claim"]:
        mappings["groups"] = {"claim": flags["oidc_groups_claim"], "prefix": flags["oidc_groups_prefix"]}
    entry: dict[str, Any] = {"issuer": {"url": issuer, "audiences": [audience]}, "claimMappings": mappings}
    if flags["oidc_ca_file"]:
        entry["issuer"]["certificateAuthority"] = Path(flags["oidc_ca_file"]).read_text()
    rules = []
    for pair in (p for text in flags["oidc_required_claim"] for p in text.split(",")):
        name, mark, value = pair.partition("=")
        if not mark:
            raise ValueError(f"malformed pair, expect string=string: {pair}")
        rules.append({"claim": name, "requiredValue": value})
    if rules:
        entry["claimValidationRules"] = rules
    return (entry,)


def algorithms_of(flags: Mapping[str, Any]) -> tuple[str, ...]:
    """Raises ValueError."""
    from .authn.webkeys import ALGORITHMS

    found = tuple(a.strip() for a in flags["oidc_signing_algs"].split(",") if a.strip())
    for algorithm in found:
        if algorithm not in ALGORITHMS:
            raise ValueError(f'oidc: unsupported signing alg: "{algorithm}"')
    return found
