// SPDX-License-Identifier: Apache-2.0
/**
 * The environment of a workload: what replaces variables in its document. On its way it is also in the
 * environment of the process that runs Docker's own tools on the host, and the tenant chooses its
 * names: one that the loader, the shell or Docker's client obeys would be a command to the host.
 */
import { memberPath, type Violation } from "./findings.ts";

export const VARIABLES_MAX = 1000;
export const NAME_LENGTH_MAX = 256;
export const VALUE_LENGTH_MAX = 128 * 1024;
export const ENVIRONMENT_LENGTH_MAX = 1024 * 1024;

/** The platform's own, which it sets itself. */
const PLATFORM = /^(?:NILCC_VERSION|NILCC_VM_TYPE|NILCC_DOMAIN|FILES|(?:CADDY|CASEMATE)_.*)$/i;
/**
 * What compose (in Go, and the older one in Python), docker and the loader obey. A name that is only
 * an application's own (NODE_ENV, PYTHONUNBUFFERED) is not here; a reserved one can still be set for a
 * container, in the document's own `environment`.
 */
const STEERING = new RegExp(
  `^(?:${[
    "(?:COMPOSE|DOCKER|BUILDKIT|BUILDX|MOBY|LD|OTEL)_.*",
    "PATH|HOME|PWD|OLDPWD|SHELL|ENV|BASH_ENV|IFS|TMPDIR|USER|LOGNAME|XDG_.*",
    "GODEBUG|GOTRACEBACK|GOMAXPROCS|GOMEMLIMIT|GOGC|GOCOVERDIR|GRPC_.*",
    "PYTHON(?:PATH|HOME|STARTUP|INSPECT|BREAKPOINT|WARNINGS|USERBASE|EXECUTABLE|PLATLIBDIR|PYCACHEPREFIX|SAFEPATH)",
    "(?:HTTPS?|FTP|ALL|NO)_PROXY|SSL_CERT_(?:FILE|DIR)|(?:REQUESTS|CURL)_CA_BUNDLE|SSH_.*",
    "GCONV_PATH|GLIBC_TUNABLES|MALLOC_.*|LOCPATH|NLSPATH|GETCONF_DIR|HOSTALIASES|LOCALDOMAIN|RES_OPTIONS|TZDIR",
    "NOTIFY_SOCKET|LISTEN_(?:FDS|PID|FDNAMES)",
  ].join("|")})$`,
  "i",
);

/** What is wrong with the environment; empty when nothing is. Never says a value. */
export function checkEnvironment(env: Readonly<Record<string, string>>): Violation[] {
  const violations: Violation[] = [];
  const names = Object.keys(env);
  let length = 0;
  if (names.length > VARIABLES_MAX) {
    return [{ path: "envVars", line: 1, message: `There are more than ${VARIABLES_MAX} variables.` }];
  }
  for (const name of names) {
    const value = env[name]!;
    length += name.length + value.length;
    const message = checkName(name) ?? checkValue(value);
    if (message !== null) violations.push({ path: memberPath("envVars", name), line: 1, message });
  }
  if (length > ENVIRONMENT_LENGTH_MAX) {
    violations.push({ path: "envVars", line: 1, message: "All variables together are too large." });
  }
  return violations;
}

/** Reserved names are so whatever their case, since some readers fold it (`http_proxy`). */
function checkName(name: string): string | null {
  if (name.length > NAME_LENGTH_MAX)
    return `The name of a variable has ${NAME_LENGTH_MAX} characters at most.`;
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name) || name.endsWith("\n")) {
    return "The name of a variable has letters, digits and `_`, and does not start with a digit.";
  }
  if (PLATFORM.test(name)) return "This name is reserved: the platform sets it.";
  if (STEERING.test(name)) return "This name is reserved: programs of the host obey it.";
  return null;
}

/** A line break would end the variable in every file format for environments and begin another. */
function checkValue(value: string): string | null {
  if (/[\0\r\n]/.test(value)) return "The value of a variable holds no line breaks and no zero bytes.";
  if (!value.isWellFormed()) return "The value of a variable is not Unicode text.";
  if (value.length > VALUE_LENGTH_MAX)
    return `The value of a variable has ${VALUE_LENGTH_MAX} characters at most.`;
  return null;
}
