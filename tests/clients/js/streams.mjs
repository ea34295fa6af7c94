// exec, attach and port-forward with @kubernetes/client-node in a real container. Prints one line a step.
import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import * as k8s from "@kubernetes/client-node";

const config = new k8s.KubeConfig();
config.loadFromFile(process.argv[2]);
const done = (step) => console.log(step);

const collecting = () => {
  const stream = new PassThrough();
  const chunks = [];
  let heard = () => {};
  stream.on("data", (chunk) => {
    chunks.push(chunk);
    heard();
  });
  const text = () => Buffer.concat(chunks).toString();
  const until = (wanted) =>
    new Promise((resolve) => {
      heard = () => text().includes(wanted) && resolve();
      heard();
    });
  return { stream, text, until };
};

// Runs a command to its end: {out, err, status}.
const run = async (command, said) => {
  const [out, err] = [collecting(), collecting()];
  const input = said === undefined ? null : new PassThrough();
  const status = await new Promise((resolve, reject) => {
    new k8s.Exec(config)
      .exec("default", "web", "app", ["sh", "-c", command], out.stream, err.stream, input, false, resolve)
      .then(() => input?.write(said), reject);
  });
  return { out: out.text(), err: err.text(), status };
};

const plain = await run("echo hi");
assert.deepEqual([plain.out, plain.status.status], ["hi\n", "Success"]);
done("exec");

const failed = await run("echo bad >&2; exit 7");
assert.deepEqual([failed.err, failed.status.status, failed.status.reason], ["bad\n", "Failure", "NonZeroExitCode"]);
assert.equal(failed.status.details.causes[0].message, "7");
done("exit code");

const filtered = await run("read a; echo got $a", "x\n");
assert.deepEqual([filtered.out, filtered.status.status], ["got x\n", "Success"]);
done("stdin");

// The container "filter" answers every line that it reads.
const attached = collecting();
const typed = new PassThrough();
const socket = await new k8s.Attach(config).attach("default", "web", "filter", attached.stream, attached.stream, typed, false);
typed.write("a line\n");
await attached.until("got a line\n");
socket.close();
done("attach");

const listening = "busybox nc -ll -p 8081 -e cat </dev/null >/dev/null 2>&1 & " +
  "until busybox grep -qs ':1F91 .* 0A ' /proc/net/tcp /proc/net/tcp6; do :; done";
assert.equal((await run(listening)).status.status, "Success");
const [answer, errors] = [collecting(), collecting()];
const sent = new PassThrough();
await new k8s.PortForward(config).portForward("default", "web", [8081], answer.stream, errors.stream, sent);
sent.write("echo me");
await answer.until("echo me");
assert.equal(errors.text(), "");
done("port-forward");
process.exit(0);
