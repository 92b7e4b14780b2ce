// SPDX-License-Identifier: Apache-2.0
import { expect, it } from "vitest";
import { openMetrics } from "./metrics.ts";

const linesOf = async (metrics: ReturnType<typeof openMetrics>, name: string) =>
  (await metrics.text()).split("\n").filter((line) => line.startsWith(name));

it("counts each answer once, by operation and status, however often the page is asked for", async () => {
  const metrics = openMetrics();
  metrics.answered("getWorkload", 200, 2);
  metrics.answered("getWorkload", 200, 20);
  metrics.answered("getWorkload", 404, 1);
  metrics.answered("none", 404, 1);
  await metrics.text();
  expect(await linesOf(metrics, "casemate_http_requests_total")).toEqual([
    'casemate_http_requests_total{operation="getWorkload",status="200"} 2',
    'casemate_http_requests_total{operation="getWorkload",status="404"} 1',
    'casemate_http_requests_total{operation="none",status="404"} 1',
  ]);
  expect(await linesOf(metrics, "casemate_http_request_seconds_count")).toEqual([
    'casemate_http_request_seconds_count{operation="getWorkload"} 3',
    'casemate_http_request_seconds_count{operation="none"} 1',
  ]);
});
