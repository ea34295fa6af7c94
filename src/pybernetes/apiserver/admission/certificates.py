"""Who may approve, sign and attest for which signer: CertificateApproval, CertificateSigning, CertificateSubjectRestriction,
ClusterTrustBundleAttest. Specified by "Certificates and Certificate Signing Requests", "Authorization".
"""

from __future__ import annotations

import base64
import binascii

from ...api.errors import go_quote
from ...api.resources import GVR
from ...client import signing
from ...hooks.admission import CREATE, UPDATE, AdmissionAttributes
from ...hooks.authorization import Attributes, Authorizer, Decision
from ...hooks.identity import SYSTEM_MASTERS, UserInfo
from ..authz.escalation import only_for_garbage_collection
from .base import WRITES, Plugin, refuse

GROUP = "certificates.k8s.io"


def _is_request(gvr: GVR) -> bool:
    return gvr.group == GROUP and gvr.resource == "certificatesigningrequests"


async def may(authorizer: Authorizer, user: UserInfo, verb: str, signer: str) -> bool:
    """Whether the user may do this for the signer, or for all signers of its domain."""
    for name in (signer, signer.partition("/")[0] + "/*"):
        ask = Attributes(user, verb, GROUP, "*", "signers", name=name)
        if (await authorizer.authorize(ask)).decision is Decision.ALLOW:
            return True
    return False


class CertificateApproval(Plugin):
    name = "CertificateApproval"

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        return operation == UPDATE and _is_request(gvr) and subresource == "approval"

    async def validate(self, attributes: AdmissionAttributes) -> None:
        # The old object's signer counts: the new one may name another.
        signer = ((attributes.old_object or {}).get("spec") or {}).get("signerName") or ""
        if not await may(self.context.authorizer, attributes.user, "approve", signer):
            raise refuse(attributes, f"user not permitted to approve requests with signerName {go_quote(signer)}")


class CertificateSigning(Plugin):
    name = "CertificateSigning"

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        return operation == UPDATE and _is_request(gvr) and subresource == "status"

    async def validate(self, attributes: AdmissionAttributes) -> None:
        old, new = attributes.old_object or {}, attributes.object or {}
        before, after = old.get("status") or {}, new.get("status") or {}
        if before.get("certificate") == after.get("certificate"):
            if (before.get("conditions") or []) == (after.get("conditions") or []):
                return
        signer = (old.get("spec") or {}).get("signerName") or ""
        if not await may(self.context.authorizer, attributes.user, "sign", signer):
            raise refuse(attributes, f"user not permitted to sign requests with signerName {go_quote(signer)}")


class CertificateSubjectRestriction(Plugin):
    """Nobody gets a certificate for system:masters by asking for it."""

    name = "CertificateSubjectRestriction"

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        return operation == CREATE and _is_request(gvr) and not subresource

    async def validate(self, attributes: AdmissionAttributes) -> None:
        spec = (attributes.object or {}).get("spec") or {}
        if spec.get("signerName") != signing.CLIENT_SIGNER:
            return
        try:
            request = signing.parse_request(base64.b64decode(spec.get("request") or ""))
        except (signing.SigningError, binascii.Error) as failure:
            raise refuse(attributes, f"failed to parse CSR: {failure}") from failure
        if SYSTEM_MASTERS in signing.organizations(request.subject):
            raise refuse(attributes, f"use of {signing.CLIENT_SIGNER} signer with system:masters group is not allowed")


class ClusterTrustBundleAttest(Plugin):
    name = "ClusterTrustBundleAttest"

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        return operation in WRITES and gvr.group == GROUP and gvr.resource == "clustertrustbundles"

    async def validate(self, attributes: AdmissionAttributes) -> None:
        new, old = attributes.object or {}, attributes.old_object
        signer = (new.get("spec") or {}).get("signerName")
        if not signer or (old is not None and only_for_garbage_collection(new, old)):
            return
        if not await may(self.context.authorizer, attributes.user, "attest", signer):
            raise refuse(attributes, f"user not permitted to attest for signerName {go_quote(signer)}")
