// SPDX-License-Identifier: Apache-2.0
/**
 * A process in another network namespace that does for a test what only somebody in there can:
 *
 *     call      an HTTP request
 *     docker    an engine of its own, until the process ends
 */
import { type ChildProcess, spawn } from "node:child_process";
import { type Caller, callerOf } from "./caller.ts";
import { startDocker } from "./docker.ts";

export interface Inside extends AsyncDisposable {
  /** As `callerOf`, from in there. */
  callerOf(url: string, key: string | null): Caller;
  /** Starts an engine in there; returns its socket, which is reached from everywhere on this machine. */
  docker(firstSlot: number): Promise<string>;
}

type Order =
  | { id: number; do: "call"; url: string; key: string | null; args: Parameters<Caller> }
  | { id: number; do: "docker"; firstSlot: number };
interface Done {
  id: number;
  value?: { status: number; headers: [string, string][]; body: unknown; text: string } | string;
  error?: string;
}

export function startInside(prefix: readonly string[]): Inside {
  const [command, ...words] = [...prefix, process.execPath, "--disable-warning=ExperimentalWarning"];
  const child: ChildProcess = spawn(command!, [...words, new URL(import.meta.url).pathname, "inside"], {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  const waiting = new Map<number, (done: Done) => void>();
  let last = 0;
  child.on("message", (done: Done) => waiting.get(done.id)?.(done));
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const order = async (what: object): Promise<NonNullable<Done["value"]>> => {
    const id = ++last;
    const { promise, resolve, reject } = Promise.withResolvers<Done>();
    waiting.set(id, resolve);
    void exited.then(() => reject(new Error("the process in the namespace ended")));
    child.send({ id, ...what });
    const done = await promise.finally(() => waiting.delete(id));
    if (done.error !== undefined) throw new Error(done.error);
    return done.value!;
  };
  return {
    callerOf: (url, key) => {
      const call = async (...args: unknown[]) => {
        const { headers, ...reply } = (await order({ do: "call", url, key, args })) as Exclude<
          Done["value"],
          string | undefined
        >;
        return { ...reply, headers: new Headers(headers) };
      };
      return Object.assign(call, { key }) as unknown as Caller;
    },
    docker: async (firstSlot) => (await order({ do: "docker", firstSlot })) as string,
    [Symbol.asyncDispose]: async () => {
      if (child.connected) child.disconnect();
      await exited;
    },
  };
}

if (process.argv[2] === "inside" && process.argv[1] === new URL(import.meta.url).pathname) {
  const engines: { stop(): Promise<void> }[] = [];
  process.on("disconnect", async () => {
    for (const engine of engines) await engine.stop();
    process.exit(0);
  });
  process.on("message", async (order: Order) => {
    const say = (done: Omit<Done, "id">) => process.connected && process.send!({ id: order.id, ...done });
    try {
      if (order.do === "docker") {
        const engine = await startDocker({ firstSlot: order.firstSlot });
        engines.push(engine);
        say({ value: engine.socketPath });
      } else {
        // The channel has no undefined.
        const [method, path, given, fields] = order.args;
        const call = callerOf(order.url, order.key);
        const { status, headers, body, text } = await call(method, path, given ?? undefined, fields ?? {});
        say({ value: { status, headers: [...headers], body, text } });
      }
    } catch (error) {
      say({ error: error instanceof Error ? `${error.message} ${error.cause ?? ""}` : String(error) });
    }
  });
}
