// Starting, saving, cancelling, going on and trying again, the same from the list and from a job's page.
import { call } from "./api.js";
import { confirmAction } from "./dialog.js";
import { toast } from "./toasts.js";

/** Ask, then cancel; resolves to the job as the server answers it, or null. */
export async function cancelJob(job) {
  const sure = await confirmAction({
    title: `Cancel “${job.name}”?`,
    text: "The run saves a checkpoint if it can, then its machine is stopped. What it has cost so far stays.",
    yes: "Cancel the job",
    no: "Keep it running",
  });
  if (!sure) return null;
  try {
    const answer = await call(`/api/jobs/${job.id}/cancel/`, { method: "POST", json: {} });
    toast("Cancelling", { text: `${job.name}: waiting until its machine is gone.` });
    return answer;
  } catch (error) {
    toast("The job was not cancelled", { text: error.sentence ?? error.message, kind: "bad" });
    return null;
  }
}

export async function startJob(job) {
  try {
    return await call(`/api/jobs/${job.id}/start/`, { method: "POST", json: {} });
  } catch (error) {
    toast("The job was not started", { text: error.sentence ?? error.message, kind: "bad" });
    return null;
  }
}

/** Start a new job with everything this one was made with, and go to its page. */
export const retryJob = (job) => goToNew(job, "retry", "The job was not tried again");

/** Start a new job that goes on at a checkpoint of this one, the newest unless one is named, and go to its page. */
export const resumeJob = (job, checkpoint) => goToNew(job, "resume", "The job was not resumed", checkpoint ? { checkpoint } : {});

async function goToNew(job, what, failed, json = {}) {
  try {
    const again = await call(`/api/jobs/${job.id}/${what}/`, { method: "POST", json });
    window.location.assign(again.url);
  } catch (error) {
    toast(failed, { text: error.sentence ?? error.message, kind: "bad" });
  }
  return null;
}

export async function saveCheckpoint(job) {
  try {
    const answer = await call(`/api/jobs/${job.id}/checkpoint/`, { method: "POST", json: {} });
    toast("A checkpoint was asked for", { text: "It is saved after the present step and listed under Files." });
    return answer;
  } catch (error) {
    toast("No checkpoint was asked for", { text: error.sentence ?? error.message, kind: "bad" });
    return null;
  }
}
