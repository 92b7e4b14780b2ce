// SPDX-License-Identifier: Apache-2.0
/** The baseline of a conversion: a process that has onnxruntime optimise a file, and nothing else. `<model> <out>`; says how many ms it took. */
import { InferenceSession } from "onnxruntime-node";

const [model, out] = process.argv.slice(2) as [string, string];
// What the runtime does once in a process is no conversion; ours has done it too by then.
await (await InferenceSession.create(model)).release();
const begun = performance.now();
const session = await InferenceSession.create(model, {
  ...{ graphOptimizationLevel: "extended", optimizedModelFilePath: out },
  ...{ intraOpNumThreads: 2, interOpNumThreads: 1, executionMode: "sequential", logSeverityLevel: 3 },
});
process.stdout.write(`${performance.now() - begun}\n`);
await session.release();
