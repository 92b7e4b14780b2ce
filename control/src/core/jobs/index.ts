// SPDX-License-Identifier: Apache-2.0
export { type Job, type JobQueue, type Jobs, type NewJob, openJobs } from "./jobs.ts";
