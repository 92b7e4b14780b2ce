// SPDX-License-Identifier: Apache-2.0
export { Bell } from "./bell.ts";
export { JOBS_SCHEMA, type Job, type JobQueue, type Jobs, type NewJob, openJobs } from "./jobs.ts";
