"""Preparing one container: environment, mounts, files of its own. What comes out goes into ``pod.runtime_config``."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..api.meta import Object, namespace_of, uid_of
from .context import Context
from .images import ImageInfo
from .objects import ObjectCache
from .pod.env import (
    ConfigError,
    Place,
    Sources,
    command_and_arguments,
    environment,
    expand_strictly,
    referenced,
    service_variables,
)
from .pod.envfiles import parse_env_file
from .pod.naming import hostname_and_domain, hosts_file
from .pod.runtime_config import Prepared, check_non_root
from .volumes import subpath
from .volumes.manager import VolumeManager
from .volumes.payload import VolumeError, config_map_data, secret_data
from .volumes.sources import Mounted

_PROPAGATION = {
    None: "PROPAGATION_PRIVATE",
    "None": "PROPAGATION_PRIVATE",
    "HostToContainer": "PROPAGATION_HOST_TO_CONTAINER",
    "Bidirectional": "PROPAGATION_BIDIRECTIONAL",
}


class Preparation:
    def __init__(self, context: Context, objects: ObjectCache, volumes: VolumeManager) -> None:
        self._context, self._objects, self._volumes = context, objects, volumes
        self.image_mounts = True
        """Whether the runtime mounts image volumes itself."""
        self.recursive_read_only = False

    async def mount_image(self, pod: Object, volume: str, reference: str) -> Mounted:
        """Raises VolumeError."""
        return await self._volumes.mount_image(pod, volume, reference)

    def place(self, ips: Sequence[str]) -> Place:
        return Place(tuple(ips), tuple(self._context.host_ips()), self._context.allocatable())

    async def prepare(
        self,
        pod: Object,
        container: Object,
        image: ImageInfo,
        restart_count: int,
        ips: Sequence[str],
        mounted: Mapping[str, Mounted],
        target_id: str = "",
    ) -> Prepared:
        """Raises ConfigError, and what fetching raises."""
        check_non_root(pod, container, image.uid, image.username)
        values = await self._environment(pod, container, ips, mounted)
        command, arguments = command_and_arguments(container, values)
        mounts = await self._mounts(pod, container, values, ips, mounted)
        return Prepared(
            restart_count=restart_count,
            image_ref=image.ref,
            image_uid=image.uid,
            image_user=image.username,
            environment=values,
            command=command,
            arguments=arguments,
            mounts=mounts,
            target_id=target_id,
        )

    # -- environment -----------------------------------------------------------------------------------------------

    async def _environment(
        self, pod: Object, container: Object, ips: Sequence[str], mounted: Mapping[str, Mounted]
    ) -> dict[str, str]:
        namespace = namespace_of(pod)
        maps, names = referenced(container)
        found_maps: dict[str, dict[str, str] | None] = {}
        found_secrets: dict[str, dict[str, bytes] | None] = {}
        for name in maps:
            found = await self._objects.config_map(namespace, name, fresh=True)
            text = {k: v.decode("utf-8", "surrogateescape") for k, v in config_map_data(found or {}).items()}
            found_maps[name] = None if found is None else text
        for name in names:
            secret = await self._objects.secret(namespace, name, fresh=True)
            found_secrets[name] = None if secret is None else secret_data(secret)
        links = pod["spec"].get("enableServiceLinks")
        services = service_variables(self._context.services(), namespace, links is None or bool(links))
        sources = Sources(found_maps, found_secrets, await self._env_files(container, mounted))
        return environment(pod, container, sources, services, self.place(ips))

    async def _env_files(
        self, container: Object, mounted: Mapping[str, Mounted]
    ) -> dict[tuple[str, str], dict[str, str]]:
        found: dict[tuple[str, str], dict[str, str]] = {}
        for variable in container.get("env") or ():
            reference = (variable.get("valueFrom") or {}).get("fileKeyRef")
            if not reference:
                continue
            volume, path = reference.get("volumeName", ""), reference.get("path", "")
            if volume not in mounted:
                raise ConfigError(f'cannot find the volume "{volume}" referenced by FileKeyRef')
            text = await asyncio.to_thread(_read_inside, mounted[volume].path, path)
            if text is not None:
                found[volume, path] = parse_env_file(text)
            elif not reference.get("optional"):
                raise ConfigError("couldn't parse env file")
        return found

    # -- mounts ----------------------------------------------------------------------------------------------------

    async def _mounts(
        self,
        pod: Object,
        container: Object,
        values: Mapping[str, str],
        ips: Sequence[str],
        mounted: Mapping[str, Mounted],
    ) -> list[Object]:
        found = []
        hosts_covered = False
        for index, mount in enumerate(container.get("volumeMounts") or ()):
            hosts_covered = hosts_covered or mount.get("mountPath") == "/etc/hosts"
            found.append(await self._mount(pod, container, index, mount, values, mounted))
        own = self._context.settings.pod_dir(uid_of(pod))
        if ips and not hosts_covered:
            found.append({"container_path": "/etc/hosts", "host_path": str(own / "etc-hosts")})
            await asyncio.to_thread(self._write_hosts, pod, ips, own / "etc-hosts")
        message_path = container.get("terminationMessagePath")
        if message_path:
            file = own / "containers" / container["name"] / secrets.token_hex(4)
            await asyncio.to_thread(_touch, file)
            found.append({"container_path": _absolute(message_path), "host_path": str(file)})
        return found

    async def _mount(
        self,
        pod: Object,
        container: Object,
        index: int,
        mount: Object,
        values: Mapping[str, str],
        mounted: Mapping[str, Mounted],
    ) -> Object:
        name = mount["name"]
        volume = mounted.get(name)
        if volume is None:
            raise ConfigError(f'cannot find volume "{name}" to mount into container "{container["name"]}"')
        path = mount.get("subPath") or ""
        if mount.get("subPathExpr"):
            path = expand_strictly(mount["subPathExpr"], values)
        if path:
            try:
                subpath.check(path)
            except VolumeError as failure:
                raise ConfigError(str(failure)) from failure
        recursive = self._recursive(mount)
        message: Object = {
            "container_path": _absolute(mount.get("mountPath", "")),
            "readonly": bool(mount.get("readOnly")) or volume.read_only,
            "propagation": _PROPAGATION[mount.get("mountPropagation")],
            "recursive_read_only": recursive,
        }
        if volume.image and self.image_mounts:
            return message | {"image": {"image": volume.image}, "image_sub_path": path, "readonly": True}
        host = volume.path
        if path:
            try:
                host = await self._volumes.sub_path(pod, container["name"], index, name, volume, path)
            except VolumeError as failure:
                raise ConfigError(str(failure)) from failure
        return message | {"host_path": str(host)}

    def _recursive(self, mount: Object) -> bool:
        wanted = mount.get("recursiveReadOnly")
        if not mount.get("readOnly") or wanted in (None, "Disabled"):
            return False
        if wanted == "Enabled" and not self.recursive_read_only:
            text = (
                f"volume {mount['name']!r} requested recursive read-only mode, but it is not supported by the runtime"
            )
            raise ConfigError(f"failed to resolve recursive read-only mode: {text}".replace("'", '"'))
        return self.recursive_read_only

    def _write_hosts(self, pod: Object, ips: Sequence[str], path: Path) -> None:
        settings = self._context.settings
        hostname, domain = hostname_and_domain(pod, settings.cluster_domain)
        node = ""
        if pod["spec"].get("hostNetwork"):
            node = settings.hosts_file.read_text(errors="surrogateescape")
        path.write_text(hosts_file(pod, ips, hostname, domain, node), errors="surrogateescape")
        path.chmod(0o644)


def _absolute(path: str) -> str:
    return path if path.startswith("/") else f"/{path}"


def _touch(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    file.touch()
    # The container's user writes it, whoever that is.
    file.chmod(0o666)


def _read_inside(root: Path, path: str) -> str | None:
    try:
        with subpath.opened(root, path) as descriptor:
            with open(f"/proc/self/fd/{descriptor}", encoding="utf-8", errors="surrogateescape") as file:
                return file.read(1 << 16)
    except (OSError, VolumeError):
        return None


def next_restart_count(log_directory: Path) -> int:
    """One more than the newest log of a container whose earlier instances the runtime has lost (a reboot)."""
    try:
        names = os.listdir(log_directory)
    except FileNotFoundError:
        return 0
    counts = [int(n.partition(".")[0]) for n in names if ".log" in n and n.partition(".")[0].isdigit()]
    return max(counts, default=-1) + 1
