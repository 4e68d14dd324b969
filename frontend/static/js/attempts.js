// The attempts of a job as the charts and the info tab show them. Pure, so that node can test it.

/** Where on the charts a later attempt began, with why the one before ended. */
export function attemptMarks(attempts) {
  const marks = [];
  attempts.forEach((attempt, i) => {
    if (i === 0 || attempt.first_step === null) return;
    const why = attempts[i - 1].reason_label;
    marks.push({ kind: "attempt", attempt: attempt.n, step: attempt.first_step, text: why ? `Attempt ${attempt.n}, after: ${why.toLowerCase()}` : `Attempt ${attempt.n}` });
  });
  return marks;
}

/** Whether a later attempt's first point may have come meanwhile. */
export const waitsForPoints = (attempts) => attempts.some((attempt, i) => i > 0 && attempt.first_step === null && !attempt.gone_at);

/** Seconds the machine was there, up to `now` while it is; null when it never was. */
export function seconds(attempt, now) {
  if (!attempt.machine_seen_at) return null;
  return ((attempt.gone_at ? Date.parse(attempt.gone_at) : now) - Date.parse(attempt.machine_seen_at)) / 1000;
}

export function stateWords(attempt) {
  if (attempt.reason_label) return attempt.reason_label;
  return attempt.state === "intent" ? "Being asked for" : "Running";
}
