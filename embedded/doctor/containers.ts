// SPDX-License-Identifier: Apache-2.0
/** What workloads in containers need: root, an engine that answers, compose, a firewall. */
import { request } from "node:http";
import { apt, type Check, missing, ok, warning } from "./check.ts";
import { oneLine } from "./examine.ts";
import { findOnPath, runProgram } from "./program.ts";

/** 20.10, the oldest that the driver has run with. */
const API_MIN = 1.41;
const ENGINE = ["docker.io", "docker-compose", "iptables"];

const asRoot: Check = {
  id: "workloads-as-root",
  group: "containers",
  name: "root for containers",
  needed: ["workloads"],
  timeoutMs: 1_000,
  look: async (here) =>
    here.uid === 0 ? ok("yes") : missing(`uid ${here.uid} gets no containers`, "sudo ./casemate up"),
};

const engine: Check = {
  id: "docker-engine",
  group: "containers",
  name: "Docker engine",
  needed: ["workloads"],
  timeoutMs: 15_000,
  look: async (here, signal) => {
    const socketPath = here.root + here.dockerSocket;
    const get = `${apt(here, ...ENGINE)} && systemctl start docker`;
    try {
      const { ApiVersion, Version } = await askEngine(socketPath, "/version", signal);
      const info = await askEngine(socketPath, "/info", signal);
      const cgroups = info.CgroupDriver;
      const facts = `${Version}, cgroups by ${cgroups} (v${info.CgroupVersion ?? "1"}), storage ${info.Driver}`;
      if (Number(ApiVersion) < API_MIN)
        return missing(
          `${facts}: too old, its API is ${ApiVersion} and ${API_MIN} is the least`,
          apt(here, ...ENGINE),
        );
      if (cgroups === "none")
        return missing(`${facts}: without cgroups nothing can be limited; run it as root`);
      if (cgroups === "systemd" && findOnPath(here, "systemctl") === null)
        return missing(`${facts}: needs systemctl, which is not on PATH`, apt(here, "systemd"));
      return ok(facts);
    } catch (error) {
      const late = signal.aborted ? "does not answer in time" : "does not answer";
      const why = (error as NodeJS.ErrnoException).code ?? "";
      return missing(`${late} at ${here.dockerSocket}${why === "" ? "" : ` (${why})`}`, get);
    }
  },
};

const compose: Check = {
  id: "compose",
  group: "containers",
  name: "docker compose",
  needed: ["workloads"],
  timeoutMs: 20_000,
  look: async (here, signal) => {
    const get = `${apt(here, "docker-compose")} (or Docker's docker-compose-plugin)`;
    for (const [name, ...words] of [["docker", "compose"], ["docker-compose"]] as const) {
      const path = findOnPath(here, name);
      if (path === null) continue;
      const { code, stdout } = await runProgram(here, [path, ...words, "version", "--short"], signal);
      const version = stdout.trim();
      if (code === 0 && /^v?\d+\./.test(version)) return ok(`${[name, ...words].join(" ")} ${version}`);
    }
    return missing("neither docker compose (v2) nor docker-compose (v1) answers", get);
  },
};

const firewall: Check = {
  id: "iptables",
  group: "containers",
  name: "iptables",
  needed: ["workloads"],
  timeoutMs: 10_000,
  look: async (here, signal) => {
    const names = ["iptables-save", "iptables-restore", "ip6tables-save", "ip6tables-restore"];
    const absent = names.filter((name) => findOnPath(here, name) === null);
    if (absent.length > 0) return missing(`no ${absent.join(", ")}`, apt(here, "iptables"));
    const version = await runProgram(here, [findOnPath(here, "iptables-restore")!, "--version"], signal);
    if (here.uid !== 0)
      return warning(`${version.stdout.trim()}; only root can see whether the kernel has the tables`);
    for (const name of ["iptables-save", "ip6tables-save"]) {
      const { code, stderr } = await runProgram(here, [findOnPath(here, name)!, "-t", "mangle"], signal);
      if (code !== 0) return missing(`${name} -t mangle fails: ${oneLine(stderr)}`);
    }
    return ok(`${version.stdout.trim()}, table mangle is there`);
  },
};

const ANSWER_CHARACTERS_MAX = 1024 * 1024;

/** Two plain questions: the engine's client library gives them no limit of time and would keep us waiting. */
function askEngine(socketPath: string, path: string, signal: AbortSignal): Promise<Record<string, string>> {
  return new Promise((resolve, reject) => {
    const asked = request(
      { socketPath, path, signal, agent: false, headers: { host: "docker" } },
      (answer) => {
        let text = "";
        answer.setEncoding("utf8").on("data", (more: string) => {
          text += more;
          if (text.length > ANSWER_CHARACTERS_MAX) asked.destroy(new Error("the answer does not end"));
        });
        answer.once("error", reject).once("end", () => {
          try {
            if (answer.statusCode !== 200) throw new Error(`status ${answer.statusCode}`);
            resolve(JSON.parse(text));
          } catch (error) {
            reject(error);
          }
        });
      },
    );
    asked.once("error", reject).end();
  });
}

export const CONTAINERS: readonly Check[] = [asRoot, engine, compose, firewall];
