// What an application with @kubernetes/client-node does: create, informer, watch, patch, apply, conflict, leader election by lease.
// Prints one line a step; ends with 1 at the first thing that is not as expected.
import assert from "node:assert/strict";
import * as k8s from "@kubernetes/client-node";

const config = new k8s.KubeConfig();
config.loadFromFile(process.argv[2]);
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);
const leases = config.makeApiClient(k8s.CoordinationV1Api);
const objects = k8s.KubernetesObjectApi.makeApiClient(config);
const namespace = "javascript";
const done = (step) => console.log(step);

await core.createNamespace({ body: { metadata: { name: namespace } } });
const version = await config.makeApiClient(k8s.VersionApi).getCode();
assert.equal(`${version.major}.${version.minor}`, "1.36");
done("version");

// An informer sees what happens, in order, with its cache behind it.
const seen = [];
let heard = () => {};
const informer = k8s.makeInformer(config, `/api/v1/namespaces/${namespace}/configmaps`, () =>
  core.listNamespacedConfigMap({ namespace }),
);
for (const event of ["add", "update", "delete"]) {
  informer.on(event, (object) => {
    seen.push(`${event} ${object.metadata.name}`);
    heard();
  });
}
const until = (wanted) =>
  new Promise((resolve) => {
    heard = () => seen.includes(wanted) && resolve();
    heard();
  });
await informer.start();
for (const name of ["one", "two"]) {
  await core.createNamespacedConfigMap({ namespace, body: { metadata: { name }, data: { n: "0" } } });
}
await until("add two");
const one = await core.readNamespacedConfigMap({ namespace, name: "one" });
one.data.n = "1";
await core.replaceNamespacedConfigMap({ namespace, name: "one", body: one });
await until("update one");
assert.equal(informer.get("one", namespace).data.n, "1");
await core.deleteNamespacedConfigMap({ namespace, name: "two" });
await until("delete two");
await informer.stop();
assert.deepEqual(seen, ["add one", "add two", "update one", "delete two"]);
done("informer");

// A stale write is refused.
await assert.rejects(core.replaceNamespacedConfigMap({ namespace, name: "one", body: one }), (failure) => failure.code === 409);
done("conflict");

// Patches by content type.
const patched = await core.patchNamespacedConfigMap(
  { namespace, name: "one", body: [{ op: "replace", path: "/data/n", value: "2" }] },
  k8s.setHeaderOptions("Content-Type", k8s.PatchStrategy.JsonPatch),
);
assert.equal(patched.data.n, "2");
done("patch");

// Server-side apply by two managers.
const deployment = (image) => ({
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata: { name: "web", namespace },
  spec: {
    selector: { matchLabels: { app: "web" } },
    template: { metadata: { labels: { app: "web" } }, spec: { containers: [{ name: "c", image }] } },
  },
});
const apply = (image, manager, force) =>
  objects.patch(deployment(image), undefined, undefined, manager, force, k8s.PatchStrategy.ServerSideApply);
await apply("i:1", "first");
await assert.rejects(apply("i:2", "second"), (failure) => failure.code === 409 && JSON.stringify(failure.body).includes("first"));
await apply("i:2", "second", true);
const stored = await apps.readNamespacedDeployment({ namespace, name: "web" });
assert.equal(stored.spec.template.spec.containers[0].image, "i:2");
assert.equal(stored.spec.replicas, 1);
done("apply");

// A watch from a revision.
const watch = new k8s.Watch(config);
const event = await new Promise((resolve, reject) => {
  watch
    .watch(
      `/apis/apps/v1/namespaces/${namespace}/deployments`,
      { resourceVersion: stored.metadata.resourceVersion },
      (type, object) => resolve(`${type} ${object.metadata.name} ${object.spec.replicas}`),
      (failure) => failure && failure.name !== "AbortError" && reject(failure),
    )
    .then(async () => {
      await apps.patchNamespacedDeploymentScale(
        { namespace, name: "web", body: { spec: { replicas: 3 } } },
        k8s.setHeaderOptions("Content-Type", k8s.PatchStrategy.MergePatch),
      );
    }, reject);
});
assert.equal(event, "MODIFIED web 3");
done("watch");

// Leader election: of five candidates one gets the lease, whoever comes later must wait.
const candidates = await Promise.allSettled(
  ["a", "b", "c", "d", "e"].map((holderIdentity) =>
    leases.createNamespacedLease({ namespace, body: { metadata: { name: "leader" }, spec: { holderIdentity, leaseDurationSeconds: 15 } } }),
  ),
);
assert.equal(candidates.filter((c) => c.status === "fulfilled").length, 1);
const lease = await leases.readNamespacedLease({ namespace, name: "leader" });
const renewals = await Promise.allSettled(
  ["x", "y", "z"].map((holderIdentity) =>
    leases.replaceNamespacedLease({ namespace, name: "leader", body: { ...lease, spec: { ...lease.spec, holderIdentity } } }),
  ),
);
assert.equal(renewals.filter((r) => r.status === "fulfilled").length, 1);
done("leader election");
process.exit(0);
