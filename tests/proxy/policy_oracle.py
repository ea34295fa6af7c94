"""What the documentation of NetworkPolicy says about one connection, worked out straight from the objects.

Written apart from the implementation and sharing nothing with it: no sets, no chains, one question at a time.
"""

from __future__ import annotations

import ipaddress


def selected(selector, labels):
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for term in selector.get("matchExpressions") or []:
        key, values = term["key"], term.get("values") or []
        truth = {
            "In": labels.get(key) in values,
            "NotIn": key not in labels or labels[key] not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }[term["operator"]]
        if not truth:
            return False
    return True


def peer_matches(peer, policy_namespace, end, namespaces):
    """``end`` is a pod (dict with namespace, labels, address) or a bare address."""
    if "ipBlock" in peer:
        address = ipaddress.ip_address(end if isinstance(end, str) else end["address"])
        block = peer["ipBlock"]
        if address not in ipaddress.ip_network(block["cidr"], strict=False):
            return False
        return all(address not in ipaddress.ip_network(e) for e in block.get("except") or [])
    if isinstance(end, str):
        return False
    if "namespaceSelector" in peer:
        if not selected(peer["namespaceSelector"], namespaces[end["namespace"]]):
            return False
    elif end["namespace"] != policy_namespace:
        return False
    return selected(peer.get("podSelector") or {}, end["labels"])


def port_matches(entry, protocol, port, destination):
    if (entry.get("protocol") or "TCP") != protocol:
        return False
    wanted = entry.get("port")
    if wanted is None:
        return True
    if isinstance(wanted, str):
        named = destination.get("named", {}) if isinstance(destination, dict) else {}
        return named.get(wanted) == (protocol, port)
    return wanted <= port <= (entry.get("endPort") or wanted)


def side_allows(policies, direction, pod, other, protocol, port, destination, namespaces):
    word = {"Ingress": "from", "Egress": "to"}[direction]
    isolating = [
        p
        for p in policies
        if p["metadata"]["namespace"] == pod["namespace"]
        and direction in (p["spec"].get("policyTypes") or ["Ingress"] + (["Egress"] if p["spec"].get("egress") else []))
        and selected(p["spec"].get("podSelector") or {}, pod["labels"])
    ]
    if not isolating:
        return True
    for policy in isolating:
        for rule in policy["spec"].get(direction.lower()) or []:
            peers, ports = rule.get(word) or [], rule.get("ports") or []
            peer_ok = not peers or any(
                peer_matches(p, policy["metadata"]["namespace"], other, namespaces) for p in peers
            )
            port_ok = not ports or any(port_matches(p, protocol, port, destination) for p in ports)
            if peer_ok and port_ok:
                return True
    return False


def allowed(policies, namespaces, source, destination, protocol, port):
    """``source`` and ``destination`` are pods, or bare addresses of what is no pod."""
    if source is destination:
        return True
    if isinstance(source, dict) and not side_allows(
        policies, "Egress", source, destination, protocol, port, destination, namespaces
    ):
        return False
    return not isinstance(destination, dict) or side_allows(
        policies, "Ingress", destination, source, protocol, port, destination, namespaces
    )
