// SPDX-License-Identifier: Apache-2.0
export { JOBS_SCHEMA, type Job, type JobQueue, type Jobs, type NewJob, openJobs } from "./jobs.ts";
