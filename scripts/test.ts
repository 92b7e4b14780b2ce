// SPDX-License-Identifier: Apache-2.0
/**
 * The whole suite, in two depths. `--all` adds the deep tests (every kill stage, soak) and runs the
 * database's and the surfaces' tests once more on the oldest PostgreSQL we support, when one is here.
 * Ends with `N passed, N failed, N skipped`; every skip is listed with its reason.
 *
 * When few files of the whole suite fail, each is run once more by itself, with nothing beside it: what passes then counts as passed
 * and is named in a line of its own, since it is either a time limit that a busy machine was over, or a fault seen seldom
 * (docs/decisions/0061).
 */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { runAgain, type Tally } from "./run-again.ts";

const ROOT = new URL("..", import.meta.url).pathname;
const FLOOR = 15;

interface Report {
  numPassedTests: number;
  numFailedTests: number;
  numPendingTests: number;
  numTodoTests: number;
  numFailedTestSuites: number;
  testResults: { name: string; status: string; assertionResults: { status: string; fullName: string }[] }[];
}

export async function runTests(argv: string[]): Promise<number> {
  const all = argv.includes("--all");
  const filters = argv.filter((arg) => !arg.startsWith("--"));
  const total: Tally = { passed: 0, failed: 0, skipped: [], failures: null };
  const again: string[] = [];
  const run = async (ask: string[], deep: boolean, env: Record<string, string>) => {
    const first = await vitest(ask, deep, env);
    add(
      total,
      filters.length > 0 ? first : await runAgain(first, (file) => vitest([file], deep, env), again),
    );
  };
  await run(filters, all, {});
  if (all && filters.length === 0) {
    const bin = `/usr/lib/postgresql/${FLOOR}/bin`;
    if (existsSync(join(bin, "postgres"))) {
      console.log(`\nagain on PostgreSQL ${FLOOR}:`);
      await run(["control/"], false, { CASEMATE_TEST_POSTGRES_BIN: bin });
    } else {
      total.skipped.push(
        `control on PostgreSQL ${FLOOR} [skipped: needs ${bin} (apt-get install postgresql-${FLOOR})]`,
      );
    }
  }
  for (const name of total.skipped) console.log(`skipped: ${name}`);
  for (const name of again) console.log(`passed only when run again alone: ${name}`);
  console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped.length} skipped`);
  return total.failed === 0 && total.passed > 0 ? 0 : 1;
}

async function vitest(filters: string[], deep: boolean, env: Record<string, string>): Promise<Tally> {
  const folder = mkdtempSync(join(tmpdir(), "casemate-report-"));
  const file = join(folder, "report.json");
  const args = ["run", "--reporter=default", "--reporter=json", `--outputFile.json=${file}`, ...filters];
  const child = spawn(process.execPath, [join(ROOT, "node_modules/vitest/vitest.mjs"), ...args], {
    cwd: ROOT,
    stdio: "inherit",
    env: {
      ...process.env,
      ...env,
      NO_COLOR: process.stdout.isTTY ? "" : "1",
      ...(deep ? { CASEMATE_TEST_DEPTH: "all" } : {}),
    },
  });
  const code = await new Promise<number | null>((resolve) => child.once("exit", resolve));
  try {
    return tallyOf(JSON.parse(readFileSync(file, "utf8")) as Report, code);
  } catch (error) {
    console.error(`no report from the test runner (exit ${code}): ${error}`);
    return { passed: 0, failed: 1, skipped: [], failures: null };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A runner that failed without a failed test (a file that does not load, a leaked error) still failed. */
function tallyOf(report: Report, code: number | null): Tally {
  const tests = report.testResults.flatMap((file) => file.assertionResults);
  const skipped = tests
    .filter(({ status }) => !["passed", "failed"].includes(status))
    .map(({ fullName }) => fullName);
  const broken = report.testResults.filter(
    (file) => file.status === "failed" && file.assertionResults.length === 0,
  ).length;
  const failed = report.numFailedTests + broken;
  const unexplained = failed === 0 && code !== 0;
  const failures = new Map<string, string[]>();
  for (const file of report.testResults) {
    const names = file.assertionResults.filter(({ status }) => status === "failed");
    if (names.length > 0)
      failures.set(
        relative(ROOT, file.name),
        names.map(({ fullName }) => fullName),
      );
  }
  return {
    ...{ passed: report.numPassedTests, failed: unexplained ? 1 : failed, skipped },
    failures: broken > 0 || unexplained ? null : failures,
  };
}

function add(total: Tally, part: Tally): void {
  total.passed += part.passed;
  total.failed += part.failed;
  total.skipped.push(...part.skipped);
}
