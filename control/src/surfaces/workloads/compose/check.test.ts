// SPDX-License-Identifier: Apache-2.0
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: compose's variables, not ours
import { describe, expect, test } from "vitest";
import { checkCompose } from "./check.ts";
import { accepted, apiOf, ask, DIGEST, refusals, service } from "./testing.ts";

const EXAMPLE = [
  "services:",
  "  api:",
  "    image: caddy:2",
  "    command: |",
  `      caddy respond --listen :80 --body '{"hi":"foo"}' --header "Content-Type: application/json"`,
].join("\n");

describe("the example of the API's documentation", () => {
  test("is accepted, and its command comes through byte for byte", () => {
    const plan = accepted(EXAMPLE);
    expect(plan).toEqual({
      document: {
        services: {
          api: {
            image: "caddy:2",
            command: `caddy respond --listen :80 --body '{"hi":"foo"}' --header "Content-Type: application/json"`,
          },
        },
      },
      services: ["api"],
      images: [{ service: "api", image: "caddy:2", pinned: false }],
      volumes: [],
    });
    expect(apiOf(`${EXAMPLE}\n`).command).toMatch(/application\/json"\n$/);
  });

  test("is warned of its tag", () => {
    expect(checkCompose(ask(EXAMPLE)).warnings).toMatchObject([{ path: "services.api.image", line: 3 }]);
  });
});

describe("is refused, with its path and line", () => {
  // Each is one or more lines in the service `api`, whose members begin on line 4.
  test.each<[string, string[], string]>([
    ["privileged", ["privileged: true"], "services.api.privileged:4"],
    ["privileged as a string", ['privileged: "true"'], "services.api.privileged:4"],
    ["privileged as a number", ["privileged: 1"], "services.api.privileged:4"],
    ["privileged as a word of YAML 1.1", ["privileged: yes"], "services.api.privileged:4"],
    ["privileged by a variable", ["privileged: ${FOO:+true}"], "services.api.privileged:4"],
    ["cap_add", ["cap_add: [NET_ADMIN]"], "services.api.cap_add:4"],
    ["security_opt", ["security_opt: [seccomp=unconfined]"], "services.api.security_opt:4"],
    ["devices", ["devices: [/dev/kvm]"], "services.api.devices:4"],
    ["rules for devices", ["device_cgroup_rules: [c 1:3 rwm]"], "services.api.device_cgroup_rules:4"],
    ["pid of the host", ["pid: host"], "services.api.pid:4"],
    ["pid of a stranger", ["pid: container:x"], "services.api.pid:4"],
    ["ipc of the host", ["ipc: host"], "services.api.ipc:4"],
    ["network_mode of the host", ["network_mode: host"], "services.api.network_mode:4"],
    ["network_mode of the host by a variable", ["network_mode: $HOST"], "services.api.network_mode:4"],
    ["network_mode of a stranger", ["network_mode: container:x"], "services.api.network_mode:4"],
    ["the bridge that strangers are on", ["network_mode: bridge"], "services.api.network_mode:4"],
    ["userns of the host", ["userns_mode: host"], "services.api.userns_mode:4"],
    ["uts of the host", ["uts: host"], "services.api.uts:4"],
    ["cgroup of the host", ["cgroup: host"], "services.api.cgroup:4"],
    ["cgroup_parent", ["cgroup_parent: /"], "services.api.cgroup_parent:4"],
    ["use_api_socket", ["use_api_socket: true"], "services.api.use_api_socket:4"],
    ["extends from a file", ["extends: {service: api2, file: other.yaml}"], "services.api.extends.file:4"],
    ["build", ["build: ."], "services.api.build:4"],
    ["sysctls", ["sysctls: {net.core.somaxconn: 1}"], "services.api.sysctls:4"],
    ["the runtime", ["runtime: runc"], "services.api.runtime:4"],
    ["name servers", ["dns: 10.0.0.1"], "services.api.dns:4"],
    ["host-gateway", ["extra_hosts: [a:host-gateway]"], "services.api.extra_hosts[0]:4"],
    ["host-gateway in a map", ["extra_hosts: {a: host-gateway}"], "services.api.extra_hosts.a:4"],
    ["a log driver", ["logging: {driver: syslog}"], "services.api.logging.driver:4"],
    ["a program as a provider", ["provider: {type: sh}"], "services.api.provider:4"],
    ["a privileged hook", ["post_start: [{command: x, privileged: true}]"], "services.api.post_start:4"],
    ["annotations", ["annotations: {run.oci.handler: krun}"], "services.api.annotations:4"],
    ["another's volumes", ["volumes_from: [container:x]"], "services.api.volumes_from:4"],
    ["an unknown key", ["priviledged: true"], "services.api.priviledged:4"],
    ["an unknown key further in", ["healthcheck: {tests: x}"], "services.api.healthcheck.tests:4"],
    ["a null list element", ["volumes: [null]"], "services.api.volumes[0]:4"],

    ["port 80", ["ports: ['80:80']"], "services.api.ports[0]:4"],
    ["port 443", ["ports:", "  - 8080:80", "  - 443:8443"], "services.api.ports[1]:6"],
    ["port 443 for udp", ["ports: ['443:443/udp']"], "services.api.ports[0]:4"],
    ["port 80 in a range", ["ports: ['70-90:70-90']"], "services.api.ports[0]:4"],
    ["port 80 in a range for one target", ["ports: ['79-81:3000']"], "services.api.ports[0]:4"],
    ["port 80 with zeros", ["ports: ['0080:80']"], "services.api.ports[0]:4"],
    ["port 80 by a variable", ["ports: ['${PORT:-80}:80']"], "services.api.ports[0]:4"],
    ["port 80 in the long form", ["ports: [{target: 1, published: 80}]"], "services.api.ports[0]:4"],
    ["port 80 as a string", ['ports: [{target: 1, published: "80"}]'], "services.api.ports[0]:4"],
    ["a host's address", ["ports: ['127.0.0.1:8080:80']"], "services.api.ports[0]:4"],
    ["a host's address of IPv6", ["ports: ['[::1]:8080:80']"], "services.api.ports[0]:4"],
    ["host_ip", ["ports: [{target: 1, host_ip: 0.0.0.0}]"], "services.api.ports[0].host_ip:4"],
    ["port 0", ["ports: ['0:80']"], "services.api.ports[0]:4"],
    ["a port above 65535", ["ports: ['65536:80']"], "services.api.ports[0]:4"],
    ["a backward range", ["ports: ['9-8:9-8']"], "services.api.ports[0]:4"],
    ["ranges of two lengths", ["ports: ['9000-9002:80-81']"], "services.api.ports[0]:4"],
    ["more ports than are bounded", ["ports: ['1000-2000:1000-2000']"], "services.api.ports[0]:4"],
    ["ports that are an object", ["ports: {8080: 80}"], "services.api.ports:4"],

    ["a host's folder", ["volumes: [/etc:/x]"], "services.api.volumes[0]:4"],
    ["the host's root by a variable", ["volumes: ['$ROOT:/x']"], "services.api.volumes[0]:4"],
    [
      "a host's file whose folder is as long as the files' own",
      ["volumes: ['/var/lib/x/app.env:/x']"],
      "services.api.volumes[0]:4",
    ],
    ["a relative folder", ["volumes: ['./a:/x']"], "services.api.volumes[0]:4"],
    ["a home folder", ["volumes: ['~:/x']"], "services.api.volumes[0]:4"],
    ["Docker's socket", ["volumes: ['/var/run/docker.sock:/s']"], "services.api.volumes[0]:4"],
    ["an undeclared volume", ["volumes: ['data:/x']"], "services.api.volumes[0]:4"],
    ["a volume without a name", ["volumes: ['/x']"], "services.api.volumes[0]:4"],
    ["a drive", ["volumes: ['c:/x:/y']"], "services.api.volumes[0]:4"],
    ["a file that was not uploaded", ["volumes: ['$FILES/no:/x']"], "services.api.volumes[0]:4"],
    ["all of the files' folder", ["volumes: ['$FILES:/x']"], "services.api.volumes[0]:4"],
    ["the files' folder with a slash", ["volumes: ['$FILES/:/x']"], "services.api.volumes[0]:4"],
    ["a way out of the files", ["volumes: ['$FILES/../etc:/x']"], "services.api.volumes[0]:4"],
    ["a way round in the files", ["volumes: ['$FILES/foo/../app.env:/x']"], "services.api.volumes[0]:4"],
    ["a neighbour of the files", ["volumes: ['${FILES}2/app.env:/x']"], "services.api.volumes[0]:4"],
    ["a writable upload", ["volumes: ['$FILES/app.env:/x:rw']"], "services.api.volumes[0]:4"],
    ["a relabelled upload", ["volumes: ['$FILES/app.env:/x:z']"], "services.api.volumes[0]:4"],
    ["a mount over /proc", ["volumes: ['$FILES/app.env:/proc/1']"], "services.api.volumes[0]:4"],
    [
      "a mount over /proc, spelled otherwise",
      ["volumes: ['$FILES/app.env://./proc']"],
      "services.api.volumes[0]:4",
    ],
    ["a mount over /", ["volumes: ['$FILES/app.env:/']"], "services.api.volumes[0]:4"],
    ["a long bind", ["volumes: [{type: bind, source: /, target: /x}]"], "services.api.volumes[0]:4"],
    [
      "a mount of another type",
      ["volumes: [{type: npipe, source: /, target: /x}]"],
      "services.api.volumes[0].type:4",
    ],
    ["a mount of no type", ["volumes: [{source: /, target: /x}]"], "services.api.volumes[0]:4"],
    [
      "propagation",
      ["volumes: [{type: bind, source: $FILES/app.env, target: /x, bind: {propagation: shared}}]"],
      "services.api.volumes[0].bind.propagation:4",
    ],
    [
      "a volume that is a path",
      ["volumes: [{type: volume, source: /etc, target: /x}]"],
      "services.api.volumes[0]:4",
    ],
    ["volumes that are a map", ["volumes: {data: /x}"], "services.api.volumes:4"],
    ["a tmpfs over /sys", ["tmpfs: /sys"], "services.api.tmpfs:4"],
    ["a tmpfs with devices", ["tmpfs: ['/x:dev']"], "services.api.tmpfs[0]:4"],

    ["a host's env_file", ["env_file: /etc/environment"], "services.api.env_file:4"],
    ["a relative env_file", ["env_file: [.env]"], "services.api.env_file[0]:4"],
    ["an env_file out of the files", ["env_file: [{path: $FILES/../x}]"], "services.api.env_file[0].path:4"],
    ["a folder as env_file", ["env_file: $FILES/foo"], "services.api.env_file:4"],

    ["an undeclared network", ["networks: [n]"], "services.api.networks[0]:4"],
    [
      "an address",
      ["networks: {default: {ipv4_address: 10.0.0.1}}"],
      "services.api.networks.default.ipv4_address:4",
    ],
    [
      "a reserved alias",
      ["networks: {default: {aliases: [nilcc-attester]}}"],
      "services.api.networks.default.aliases[0]:4",
    ],
    ["a reserved host name", ["hostname: Casemate-x"], "services.api.hostname:4"],
    ["an undeclared secret", ["secrets: [s]"], "services.api.secrets[0]:4"],
    ["the platform's label", ["labels: {casemate.machine: x}"], 'services.api.labels["casemate.machine"]:4'],
    ["Docker's label in a list", ["labels: [com.docker.compose.project=x]"], "services.api.labels[0]:4"],
    ["a dependency on nothing", ["depends_on: [x]"], "services.api.depends_on[0]:4"],
    ["a dependency on itself", ["depends_on: [api]"], "services.api.depends_on:2"],
    ["sharing with itself", ["pid: service:api"], "services.api.depends_on:2"],
    ["extending itself", ["extends: api"], "services.api.extends:2"],
    [
      "a GPU of a machine without",
      ["deploy: {resources: {reservations: {devices: [{capabilities: [gpu]}]}}}"],
      "services.api.deploy.resources.reservations.devices[0]:4",
    ],
    ["unlimited processes", ["pids_limit: -1"], "services.api.pids_limit:4"],
    ["a limit that takes precedence", ["ulimits: {rtprio: 99}"], "services.api.ulimits.rtprio:4"],
    ["too many replicas", ["deploy: {replicas: 1000}"], "services.api.deploy.replicas:4"],
    [
      "a check that is work for the host",
      ["healthcheck: {test: x, interval: 1ms}"],
      "services.api.healthcheck.interval:4",
    ],
    ["a malformed variable", ['command: "echo $ {"'], "services.api.command:4"],
    ["a required variable without value", ["command: ${NO:?it}"], "services.api.command:4"],
    ["a public container in a profile", ["profiles: [debug]"], "publicContainerName:1"],
    ["a public container without network", ["network_mode: none"], "publicContainerName:1"],
  ])("%s", (_name, lines, where) => {
    expect(refusals(service(...lines))).toContain(where);
  });

  test.each<[string, string, string]>([
    ["no services", "volumes: {}", "services:1"],
    ["zero services", "services: {}", "services:1"],
    ["services that are null", "services:\n", "services:1"],
    ["services that are a list", "services: [api]", "services:1"],
    ["a null service", "services:\n  api:\n", "services.api:2"],
    ["a service that is a string", "services:\n  api: caddy", "services.api:2"],
    ["a service without image", "services:\n  api:\n    command: x", "services.api:2"],
    ["a service with an empty image", 'services: {api: {image: ""}}', "services.api.image:1"],
    ["an image that is an option", "services: {api: {image: --privileged}}", "services.api.image:1"],
    ["an image by its bare id", `services: {api: {image: ${"a".repeat(64)}}}`, "services.api.image:1"],
    ["the attester's name", "services:\n  nilcc-attester: {image: a}", "services.nilcc-attester:2"],
    ["the proxy's name", "services:\n  NILCC-proxy: {image: a}", "services.NILCC-proxy:2"],
    ["a name of the platform", "services:\n  casemate-x: {image: a}", "services.casemate-x:2"],
    ["a missing public container", "services:\n  web: {image: a}", "publicContainerName:1"],
    ["include", "include: [a.yaml]\nservices: {api: {image: a}}", "include:1"],
    ["an unknown section", "services: {api: {image: a}}\nservice: {}", "service:2"],
    ["extends in a circle", "services:\n  api: {extends: b}\n  b: {extends: api}", "services.api.extends:2"],
    [
      "a base with a refused member",
      "services:\n  api: {extends: b}\n  b: {image: a, pid: host}",
      "services.b.pid:3",
    ],
    ["a volume's driver", "services: {api: {image: a}}\nvolumes: {v: {driver: nfs}}", "volumes.v.driver:2"],
    [
      "a volume's driver options",
      "services: {api: {image: a}}\nvolumes: {v: {driver_opts: {o: bind, device: /}}}",
      "volumes.v.driver_opts:2",
    ],
    [
      "an external volume",
      "services: {api: {image: a}}\nvolumes: {v: {external: true}}",
      "volumes.v.external:2",
    ],
    [
      "an external volume, the old way",
      "services: {api: {image: a}}\nvolumes: {v: {external: {name: x}}}",
      "volumes.v.external:2",
    ],
    [
      "another's volume by name",
      "services: {api: {image: a}}\nvolumes: {v: {name: other_data}}",
      "volumes.v.name:2",
    ],
    [
      "an external network",
      "services: {api: {image: a}}\nnetworks: {n: {external: true}}",
      "networks.n.external:2",
    ],
    [
      "another's network by name",
      "services: {api: {image: a}}\nnetworks: {default: {name: bridge}}",
      "networks.default.name:2",
    ],
    [
      "a network's driver",
      "services: {api: {image: a}}\nnetworks: {n: {driver: host}}",
      "networks.n.driver:2",
    ],
    [
      "a network's options",
      "services: {api: {image: a}}\nnetworks: {n: {driver_opts: {parent: eth0}}}",
      "networks.n.driver_opts:2",
    ],
    ["a network's addresses", "services: {api: {image: a}}\nnetworks: {n: {ipam: {}}}", "networks.n.ipam:2"],
    [
      "a secret from a host's file",
      "services: {api: {image: a}}\nsecrets: {s: {file: /etc/shadow}}",
      "secrets.s.file:2",
    ],
    [
      "a config from a host's file",
      "services: {api: {image: a}}\nconfigs: {c: {file: ./x}}",
      "configs.c.file:2",
    ],
    [
      "a config from a file by a variable",
      "services: {api: {image: a}}\nconfigs: {c: {file: '${ROOT}x'}}",
      "configs.c.file:2",
    ],
    [
      "a secret of the host's environment",
      "services: {api: {image: a}}\nsecrets: {s: {environment: PATH}}",
      "secrets.s.environment:2",
    ],
    [
      "an external secret",
      "services: {api: {image: a}}\nsecrets: {s: {external: true}}",
      "secrets.s.external:2",
    ],
    ["a secret from nowhere", "services: {api: {image: a}}\nsecrets: {s: {}}", "secrets.s:2"],
  ])("%s", (_name, text, where) => {
    expect(refusals(text)).toContain(where);
  });

  test("everything at once, in the order of the text", () => {
    const text = service("privileged: true", "volumes: [/:/x]", "ports: ['80:80']", "nonsense: 1");
    expect(refusals(text)).toEqual([
      "services.api.privileged:4",
      "services.api.volumes[0]:5",
      "services.api.ports[0]:6",
      "services.api.nonsense:7",
    ]);
  });

  test.each(["toString", "hasOwnProperty", "__proto__", ""])(
    "the public container %j, which no document declares",
    (name) => {
      expect(refusals(service(), { publicContainerName: name })).toEqual(["publicContainerName:1"]);
    },
  );

  test("the ports of all services together", () => {
    const ports = (name: string, from: number) =>
      `  ${name}: {image: a, ports: ['${from}-${from + 59}:1-60']}`;
    expect(refusals(["services:", ports("api", 2000), ports("b", 3000)].join("\n"))).toEqual([
      "services.b.ports[0]:3",
    ]);
  });

  test("more services than are bounded", () => {
    const many = Array.from({ length: 70 }, (_, n) => `  s${n}: {image: a}`);
    expect(refusals(["services:", "  api: {image: a}", ...many].join("\n"))).toEqual(["services:1"]);
  });
});

describe("is accepted", () => {
  test("what the contract allows, as the one form that has no second reading", () => {
    const text = `
version: "3.8"
x-base: &base {restart: always, environment: {A: "1"}}
services:
  api:
    <<: *base
    image: registry.example:5000/team/api:\${TAG:-v1}
    ports: ["8081:80", 9000, {target: 53, published: "5353", protocol: udp}, "7000-7002:7000-7002"]
    volumes:
      - data:/data
      - $FILES/foo/bar.txt:/etc/bar:ro
      - \${FILES}/foo:/etc/foo
      - {type: tmpfs, target: /scratch, tmpfs: {size: 64m, mode: 0700}}
    env_file: [$FILES/app.env]
    environment: [B=$FOO, FOO]
    depends_on: {db: {condition: service_healthy}}
    deploy: {resources: {limits: {cpus: 0.50, memory: 512M, pids: 100}, reservations: {memory: 64m}}}
    configs: [{source: c, target: /etc/c, mode: 0440}]
    networks: {back: {aliases: [front]}}
    privileged: false
  db:
    extends: {service: base}
    healthcheck: {test: [CMD, pg_isready], interval: 5s, retries: 5}
    networks: [back]
  base: {image: postgres@${DIGEST}, command: [postgres, -c, fsync=on], profiles: [never]}
networks: {back: {internal: true}}
volumes: {data: , cache: {driver: local}}
configs: {c: {content: "price: $$5"}}
`;
    const plan = accepted(text);
    expect(plan.document).toEqual({
      services: {
        api: {
          image: "registry.example:5000/team/api:v1",
          ports: ["8081:80/tcp", "9000/tcp", "5353:53/udp", "7000-7002:7000-7002/tcp"],
          volumes: [
            { type: "volume", source: "data", target: "/data" },
            { type: "bind", source: "/__files__/foo/bar.txt", target: "/etc/bar", read_only: true },
            { type: "bind", source: "/__files__/foo", target: "/etc/foo", read_only: true },
            { type: "tmpfs", target: "/scratch", tmpfs: { size: 64 * 1024 * 1024, mode: 0o700 } },
          ],
          env_file: ["/__files__/app.env"],
          environment: { B: "42", FOO: "42" },
          depends_on: { db: { condition: "service_healthy" } },
          deploy: {
            resources: {
              limits: { cpus: "0.5", memory: "536870912b", pids: 100 },
              reservations: { memory: "67108864b" },
            },
          },
          configs: [{ source: "c", target: "/etc/c", mode: 0o440 }],
          networks: { back: { aliases: ["front"] } },
          restart: "always",
        },
        db: {
          extends: { service: "base" },
          healthcheck: { test: ["CMD", "pg_isready"], interval: "5s", retries: 5 },
          networks: ["back"],
        },
        base: {
          image: `postgres@${DIGEST}`,
          command: ["postgres", "-c", "fsync=on"],
          profiles: ["never"],
        },
      },
      networks: { back: { internal: true } },
      volumes: { data: {}, cache: {} },
      configs: { c: { content: "price: $$5" } },
    });
    expect(plan.services).toEqual(["api", "db", "base"]);
    expect(plan.volumes).toEqual(["data", "cache"]);
    expect(plan.images).toEqual([
      { service: "api", image: "registry.example:5000/team/api:v1", pinned: false },
      { service: "db", image: `postgres@${DIGEST}`, pinned: true },
      { service: "base", image: `postgres@${DIGEST}`, pinned: true },
    ]);
  });

  test("a GPU where the machine has one, and never all of the host's", () => {
    const text = service(
      "deploy: {resources: {reservations: {devices: [{count: all, capabilities: [gpu]}]}}}",
    );
    expect(apiOf(text, { gpus: 2 }).deploy).toEqual({
      resources: { reservations: { devices: [{ driver: "nvidia", count: 2, capabilities: ["gpu"] }] } },
    });
    expect(
      refusals(service("deploy: {resources: {reservations: {devices: [{count: 3, capabilities: [gpu]}]}}}"), {
        gpus: 2,
      }),
    ).toHaveLength(1);
  });

  test("file modes as they are written everywhere, in octal", () => {
    const text = `${service("secrets: [{source: s, mode: 0440}]")}secrets: {s: {file: $FILES/app.env}}\n`;
    expect(apiOf(text).secrets).toEqual([{ source: "s", mode: 0o440 }]);
  });

  test("variables of the platform before the client's", () => {
    const more = { env: { NILCC_DOMAIN: "forged" }, platform: { NILCC_DOMAIN: "x.example" } };
    expect(apiOf(service("environment: [NILCC_DOMAIN]"), more).environment).toEqual({
      NILCC_DOMAIN: "x.example",
    });
  });
});

describe("findings", () => {
  test("never say a value, which a variable may have filled with a secret", () => {
    const secret = "hunter2-hunter2";
    const members = [
      "command",
      "image",
      "user",
      "restart",
      "network_mode",
      "working_dir",
      "stop_signal",
      "hostname",
    ];
    const lists = [
      "ports",
      "volumes",
      "tmpfs",
      "expose",
      "extra_hosts",
      "cap_drop",
      "depends_on",
      "env_file",
      "labels",
    ];
    const lines = [
      ...members.slice(2).map((name) => `${name}: "$SECRET ?"`),
      ...lists.map((name) => `${name}: ["$SECRET ?"]`),
    ];
    const verdict = checkCompose(ask(service(...lines), { env: { SECRET: secret } }));
    expect(verdict.ok).toBe(false);
    expect(verdict.ok ? 0 : verdict.violations.length).toBeGreaterThanOrEqual(14);
    expect(JSON.stringify(verdict)).not.toContain(secret);
  });

  test("are bounded in number", () => {
    const lines = Array.from({ length: 5000 }, (_, n) => `no${n}: 1`);
    expect(refusals(service(...lines)).length).toBeLessThanOrEqual(201);
  });

  test("warn of a variable without value, of what is left out, and of $FILES inside of a container", () => {
    const text = `name: mine\n${service("command: $NONE $FILES/x", "container_name: x")}`;
    expect(checkCompose(ask(text)).warnings.map(({ path, line }) => `${path}:${line}`)).toEqual([
      "name:1",
      "services.api.command:5",
      "services.api.command:5",
      "services.api.container_name:6",
    ]);
  });
});
