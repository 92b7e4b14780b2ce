// SPDX-License-Identifier: Apache-2.0
/** The commands of `./casemate`. Each returns an exit code: 0 done, 1 failed, 2 wrong usage. */
import { Command, CommanderError } from "commander";
import { closeInherited } from "#confine/inherited.ts";
import pkg from "#package.json" with { type: "json" };
import {
  backupCommand,
  healthCommand,
  restoreCommand,
  revokeIssuedCommand,
  rotateIssuerCommand,
  rotateKeysCommand,
  rotateLogKeyCommand,
} from "./operate.ts";
import { upCommand } from "./up.ts";
import { OWN_IO } from "./usage.ts";

closeInherited();
// A reader of our output that goes away (`casemate up | head`) must not take a running installation with it.
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});

const DEFAULT_STATE = ".casemate";

const program = new Command("casemate")
  .description("A self-hosted control plane for confidential compute")
  .version(pkg.version)
  .exitOverride()
  .enablePositionalOptions()
  .configureOutput({ writeErr: (text) => process.stderr.write(text) });

program
  .command("up")
  .description("start everything on this machine and print an example that works")
  .option("--state <dir>", "state folder", DEFAULT_STATE)
  .option("--port <n>", "port on loopback (default 8787)")
  .option("--config <file>", "JSON configuration, see docs/configuration.md")
  .option("--with-edge", "run an edge agent with a demo camera beside it")
  .option("--insecure", "plain HTTP also on an address that others reach (control.http.host)")
  .option("--json", "print one JSON object when ready")
  .action((options) => finish(upCommand(options)));

program
  .command("test")
  .description("run the test suite; --all adds every kill stage, soak and PostgreSQL 15")
  .option("--all", "the deep suite too")
  .argument("[filter...]", "only files whose path contains one of these")
  .action((filters: string[], { all }) =>
    finish(
      import("#scripts/test.ts").then(({ runTests }) => runTests([...filters, ...(all ? ["--all"] : [])])),
    ),
  );

program
  .command("verify")
  .description(
    "everything a change must pass: format, lint, types, import graph, unused code, documents, tests",
  )
  .option("--no-tests", "leave the tests out")
  .action(({ tests }) =>
    finish(import("#scripts/verify.ts").then(({ verify }) => verify(tests === false ? ["--no-tests"] : []))),
  );

program
  .command("bench")
  .description(
    "ratios against a bare baseline measured in the same run: bench sessions | verify, --quick, --json",
  )
  .allowUnknownOption()
  .helpOption(false)
  .argument("[args...]")
  .action((args: string[]) => finish(import("./bench.ts").then(({ benchCommand }) => benchCommand(args))));

const attest = program.command("attest").description("evidence of confidential machines, judged offline");
const judging = (name: string, description: string) =>
  attest
    .command(name)
    .description(`${description} from raw files: exit 0 accepted, 1 refused, 2 usage`)
    .allowUnknownOption()
    .helpOption(false)
    .argument("[args...]");
judging("verify-snp", "judge a report of SEV-SNP").action((args: string[]) =>
  finish(import("./verify-snp.ts").then(({ verifySnpCommand }) => verifySnpCommand(args, OWN_IO))),
);
judging("verify-tdx", "judge a quote of Intel TDX").action((args: string[]) =>
  finish(import("./verify-tdx.ts").then(({ verifyTdxCommand }) => verifyTdxCommand(args, OWN_IO))),
);

judging("verify-tpm", "judge a quote of a TPM 2.0").action((args: string[]) =>
  finish(import("./verify-tpm.ts").then(({ verifyTpmCommand }) => verifyTpmCommand(args, OWN_IO))),
);

attest
  .command("verify")
  .description(
    "judge evidence of any kind under a policy: exit 0 accepted, 1 refused, 2 usage, 3 genuine but not asked for",
  )
  .allowUnknownOption()
  .helpOption(false)
  .argument("[args...]")
  .action((args: string[]) =>
    finish(
      import("./verify-evidence.ts").then(({ verifyEvidenceCommand }) => verifyEvidenceCommand(args, OWN_IO)),
    ),
  );

attest
  .command("measure")
  .description(
    "compute what a TPM's registers come to for an image and its command line, as a part of a policy",
  )
  .allowUnknownOption()
  .helpOption(false)
  .argument("[args...]")
  .action((args: string[]) =>
    finish(import("./measure.ts").then(({ measureCommand }) => measureCommand(args, OWN_IO))),
  );

program
  .command("verify-proof")
  .description(
    "verify a destruction proof offline: exit 0 ok at the level, 1 failed, 2 usage, 3 level not checkable",
  )
  .allowUnknownOption()
  .helpOption(false)
  .argument("[args...]")
  .action((args: string[]) =>
    finish(
      import("./verify-proof.ts").then(({ verifyProofCommand }) =>
        verifyProofCommand(args, { stdin: process.stdin, ...OWN_IO }),
      ),
    ),
  );

const log = program
  .command("log")
  .description("the transparency log of an installation, as a stranger sees it");

log
  .command("includes")
  .description(
    "whether a guest image is in the log of which you hold a checkpoint: exit codes as of log verify",
  )
  .allowUnknownOption()
  .helpOption(false)
  .argument("[args...]")
  .action((args: string[]) =>
    finish(import("./log-includes.ts").then(({ logIncludesCommand }) => logIncludesCommand(args, OWN_IO))),
  );

log
  .command("verify")
  .description(
    "whether a log only grew since you saved a checkpoint of it: exit 0 yes, 1 no, 2 usage, 3 cannot be told",
  )
  .allowUnknownOption()
  .helpOption(false)
  .argument("[args...]")
  .action((args: string[]) =>
    finish(import("./log.ts").then(({ logVerifyCommand }) => logVerifyCommand(args, OWN_IO))),
  );

program
  .command("release")
  .description(
    "make: the files of a release and where they come from, signed; verify: whether files are those",
  )
  .allowUnknownOption()
  .helpOption(false)
  .argument("[args...]")
  .action((args: string[]) =>
    finish(import("./release.ts").then(({ releaseCommand }) => releaseCommand(args, OWN_IO))),
  );

program
  .command("sbom")
  .description("what this release is made of, as CycloneDX")
  .allowUnknownOption()
  .helpOption(false)
  .argument("[args...]")
  .action((args: string[]) =>
    finish(import("./sbom.ts").then(({ sbomCommand }) => sbomCommand(args, OWN_IO))),
  );

program
  .command("witness")
  .description("co-sign the checkpoints of transparency logs, for somebody who does not run them")
  .allowUnknownOption()
  .helpOption(false)
  .argument("[args...]")
  .action((args: string[]) =>
    finish(import("./witness.ts").then(({ witnessCommand }) => witnessCommand(args, OWN_IO))),
  );

const targeted = (name: string, description: string) =>
  program
    .command(name)
    .description(description)
    .option("--state <dir>", "state folder of an installation on this machine", DEFAULT_STATE)
    .option("--json", "print JSON");
const remote = (command: Command) =>
  command
    .option("--url <url>", "an installation elsewhere")
    .option("--key <key>", "its admin key, or @file that holds it");

remote(targeted("health", "ask an installation how it is: exit 0 healthy, 1 degraded")).action((target) =>
  finish(healthCommand(target)),
);

const keys = program.command("keys").description("keys of an installation");
remote(
  keys
    .command("rotate")
    .description("make a new key-encryption key and wrap every data key under it")
    .option("--state <dir>", "state folder of an installation on this machine", DEFAULT_STATE)
    .option("--issuer", "instead, make a new issuer key for proofs (on this machine only)")
    .option("--log", "instead, make a new key that signs the transparency log")
    .option("--json", "print JSON"),
).action(({ issuer, log, ...target }) =>
  finish(
    issuer ? rotateIssuerCommand(target) : log ? rotateLogKeyCommand(target) : rotateKeysCommand(target),
  ),
);

remote(
  keys
    .command("revoke")
    .description("say that what an issuer certified (iss_…), or one proof's key, is not to be believed")
    .argument("<id>")
    .option("--state <dir>", "state folder of an installation on this machine", DEFAULT_STATE)
    .option("--json", "print JSON"),
).action((id, target) => finish(revokeIssuedCommand(id, target)));

targeted("backup", "write database, keys and records of an installation to one file, running or not")
  .argument("<file>")
  .action((file, target) => finish(backupCommand(file, target)));
targeted("restore", "make a state folder from a backup")
  .argument("<file>")
  .option("--log-checkpoint <file>", "the newest checkpoint of its transparency log that anybody has")
  .action((file, target) => finish(restoreCommand(file, target)));

const tenants = program.command("tenants").description("organizations on models and devices");
remote(
  tenants
    .command("create")
    .description("an organization with a client that gets access tokens for it; the secrets are shown once")
    .argument("<name>")
    .option("--slug <slug>", "part of its instances' names; made of the name without it")
    .option("--state <dir>", "state folder of an installation on this machine", DEFAULT_STATE)
    .option("--json", "print JSON"),
).action((name, target) =>
  finish(import("./tenants.ts").then(({ createTenantCommand }) => createTenantCommand(name, target))),
);

const hosts = program.command("hosts").description("the machines that run things");
const onHosts = (name: string, description: string) =>
  remote(
    hosts
      .command(name)
      .description(description)
      .option("--state <dir>", "state folder of an installation on this machine", DEFAULT_STATE)
      .option("--json", "print JSON"),
  );
const hostsModule = () => import("./hosts.ts");
onHosts("list", "who is there").action((target) =>
  finish(hostsModule().then(({ listHostsCommand }) => listHostsCommand(target))),
);
onHosts("invite", "make a word that lets one host in, once")
  .option("--name <name>", "what you will know it by")
  .action((target) => finish(hostsModule().then(({ inviteHostCommand }) => inviteHostCommand(target))));
onHosts("drain", "give a host nothing new")
  .option("--move", "and start its workloads anew elsewhere; what they kept in volumes stays behind")
  .argument("<host>")
  .action((id, target) =>
    finish(hostsModule().then(({ changeHostCommand }) => changeHostCommand("drain", id, target))),
  );
for (const [verb, description] of [
  ["resume", "give a host machines again"],
  ["revoke", "put a host out, for good; its workloads are started anew elsewhere"],
] as const)
  onHosts(verb, description)
    .argument("<host>")
    .action((id, target) =>
      finish(hostsModule().then(({ changeHostCommand }) => changeHostCommand(verb, id, target))),
    );

const host = program.command("host").description("this machine as a host of a control elsewhere");
host
  .command("join")
  .description("come in with an invitation")
  .argument("<url>", "control's API")
  .requiredOption("--invitation <file>", "file with the word; - reads standard input")
  .option("--ca <file>", "PEM of the authority of control's certificate")
  .option("--state <dir>", "this host's state folder", ".casemate-host")
  .action((url, target) => finish(import("./host.ts").then(({ joinCommand }) => joinCommand(url, target))));
host
  .command("run")
  .description("run as a host until told to stop")
  .option("--address <address>", "where strangers reach workloads here; without it, this machine only")
  .option("--config <file>", 'JSON, its "host" as in docs/configuration.md')
  .option("--state <dir>", "this host's state folder", ".casemate-host")
  .action((target) => finish(import("./host.ts").then(({ runCommand }) => runCommand(target))));

const templates = program.command("templates").description("root templates for sessions");
templates
  .command("build")
  .description("make one from Debian packages, and print the configuration that uses it")
  .argument("<name>", "base, python, or a name of your own with packages")
  .argument("[package...]", "beside the base: a shell and the usual commands")
  .option("--to <dir>", "where it goes, below its name", "/var/lib/casemate/templates")
  .option("--sources <file>", "an apt sources list instead of this machine's")
  .option("--json", "print the configuration only")
  .action((name, packages, options) =>
    finish(import("./templates.ts").then(({ buildCommand }) => buildCommand(name, packages, options))),
  );

const images = program.command("images").description("images of virtual machines");
const onImages = (name: string, description: string) =>
  images
    .command(name)
    .description(description)
    .option("--state <dir>", "state folder", DEFAULT_STATE)
    .option("--json", "print JSON");
const ofPackages = (name: string, description: string) =>
  onImages(name, description)
    .argument("<name>", "base")
    .option("--sources <file>", "an apt sources list instead of this machine's Debian sources")
    .option("--lock <file>", "a lock file instead of this release's");
const imagesModule = () => import("./images.ts");
ofPackages("build", "make one from the packages of its lock file, or find that it was made").action(
  (name, options) => finish(imagesModule().then(({ buildImageCommand }) => buildImageCommand(name, options))),
);
ofPackages("lock", "write the lock file anew, of what the package sources have now").action((name, options) =>
  finish(imagesModule().then(({ lockImageCommand }) => lockImageCommand(name, options))),
);
onImages("list", "what was built, and whether it still is what it was: exit 0 when all is well").action(
  (options) => finish(imagesModule().then(({ listImagesCommand }) => listImagesCommand(options))),
);
onImages("prune", "remove images of former builds that no machine and no workload is started from")
  .option("--url <url>", "the API whose control reads these images; without it what runs on the state folder")
  .option("--key <key>", "the operator's key, or @file")
  .action((options) => finish(imagesModule().then(({ pruneImagesCommand }) => pruneImagesCommand(options))));

const workloads = program.command("workloads").description("workloads, from their owner's side");
workloads
  .command("seal")
  .description("verify a starting machine's evidence and seal the values of its sealed variables to its key")
  .argument("<id>", "the workload")
  .requiredOption("--url <url>", "the API")
  .option("--key-file <file>", "file with the account's key; without it CASEMATE_API_KEY")
  .requiredOption("--env-file <file>", "lines NAME=value")
  .requiredOption("--image <image.json>", "what is known of the image that the machine should run")
  .requiredOption("--compose <file>", "your compose file")
  .option("--file <name=file...>", "files that were uploaded with it")
  .option("--roots <path>", "certificates of roots that may vouch for a TPM")
  .option("--policy <file>", 'what is accepted of processors, with the parts "snp" and "tdx"')
  .option("--firmware <file>", "for SEV-SNP: the firmware that the host starts machines with")
  .option("--cpu-model <name>", "for SEV-SNP: QEMU's name of the processor")
  .option("--cpus <n>", "for SEV-SNP: how many processors the machine has")
  .action((id, options) =>
    finish(import("./seal-env.ts").then(({ sealCommand }) => sealCommand(id, options))),
  );

program
  .command("ssh")
  .description("log in to an instance by its name; the key of its tenant is in CASEMATE_INSTANCES_KEY")
  .argument("<name>", "its name, or its whole host name")
  .argument("[command...]", "run there instead of a shell")
  .option("--url <url>", "the API", process.env.CASEMATE_URL ?? "http://127.0.0.1:8787")
  .option("--key-file <file>", "file with the key of the tenant")
  .option("-i, --identity <file>", "private key that the instance lets in; without it what ssh uses")
  .option("--pipe", "only carry bytes to its SSH server, for ProxyCommand in ssh_config")
  .option("--known-hosts", "only print its keys, for KnownHostsCommand in ssh_config")
  .passThroughOptions()
  .action((name, words, options) =>
    finish(import("./ssh.ts").then(({ sshCommand }) => sshCommand(name, words, options))),
  );

program
  .command("doctor")
  .description(
    "what works on this computer, what is missing and how to get it: exit 0 when up can serve sessions",
  )
  .option("--state <dir>", "state folder", DEFAULT_STATE)
  .option("--json", "print JSON")
  .action((options) => finish(import("./doctor.ts").then(({ doctorCommand }) => doctorCommand(options))));

program
  .command("uninstall")
  .description("take an installation off this computer: exit 0 when nothing of it is left")
  .option("--state <dir>", "state folder", DEFAULT_STATE)
  .option("--yes", "do not ask")
  .option("--keep-data", "keep database, keys and the volumes of workloads")
  .option("--drop-tables", "drop casemate's tables in a PostgreSQL of your own")
  .action((options) =>
    finish(import("./uninstall.ts").then(({ uninstallCommand }) => uninstallCommand(options))),
  );

async function finish(work: Promise<number>): Promise<void> {
  process.exitCode = await work;
}

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2;
  else {
    process.stderr.write(`casemate: ${error instanceof Error ? error.message : error}\n`);
    process.exitCode = 1;
  }
}
