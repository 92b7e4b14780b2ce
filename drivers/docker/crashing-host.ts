// SPDX-License-Identifier: Apache-2.0
/** A process that starts one machine and is killed meanwhile; `recover` of what it left is tested. Input: one JSON. */
import { text } from "node:stream/consumers";
import { DockerDriver } from "./driver.ts";

const { options, machineId, spec, payload } = JSON.parse(await text(process.stdin));
await new DockerDriver(options).start(machineId, spec, payload, {
  onRecord: async () => {},
  onProgress: (line) => void process.stdout.write(`${line}\n`),
  onImage: () => {},
  signal: new AbortController().signal,
});
