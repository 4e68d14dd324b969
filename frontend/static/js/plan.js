// What a job will do, from its form. Pure, so that node can test it.

/** Rows that are trained on, out of `rows`, when a share is kept apart for validation and some are held out for the comparison. */
export function trainingRows(rows, values, ownValidation) {
  const held = Number(values.held_out_samples) || 0;
  const rest = Math.max(0, rows - held);
  const share = ownValidation ? 0 : Number(values.validation_split) || 0;
  return rest - Math.floor(rest * share);
}

/** {batch, perEpoch, total} optimizer steps, or null where the form does not say enough. An estimate: packing makes fewer steps. */
export function steps(rows, values, gpus, ownValidation) {
  const batch = Number(values.per_device_train_batch_size) * Number(values.gradient_accumulation_steps) * Math.max(1, gpus || 1);
  if (!Number.isFinite(batch) || batch <= 0) return null;
  const limit = Number(values.max_steps);
  if (!rows) return { batch, perEpoch: null, total: limit > 0 ? limit : null };
  const perEpoch = Math.max(1, Math.ceil(trainingRows(rows, values, ownValidation) / batch));
  const epochs = Number(values.num_train_epochs);
  const total = limit > 0 ? limit : Number.isFinite(epochs) ? Math.max(1, Math.ceil(perEpoch * epochs)) : null;
  return { batch, perEpoch, total };
}

/** The most a job can cost: its price for its longest duration, or its budget when that is less. */
export function mostCost(pricePerHour, gpus, seconds, budget) {
  if (pricePerHour === null || pricePerHour === undefined || !Number.isFinite(seconds)) return null;
  const byTime = (Number(pricePerHour) * Math.max(1, gpus || 1) * seconds) / 3600;
  const limit = budget === null || budget === "" || !Number.isFinite(Number(budget)) ? Infinity : Number(budget);
  return { amount: Math.min(byTime, limit), by: limit < byTime ? "budget" : "duration" };
}

/** The text of a field as the value the API wants; text that is no number is sent as it is, so that the API says what is wrong. */
export function parseValue(field, text) {
  const trimmed = String(text).trim();
  if (field.type === "bool") return trimmed === "true";
  if (field.type === "int" || field.type === "float") {
    const number = Number(trimmed.replace(",", "."));
    return trimmed !== "" && Number.isFinite(number) ? number : trimmed;
  }
  return trimmed;
}

const plain = (value) => (Array.isArray(value) ? value.join(",") : String(value).replace(/\s*,\s*/g, ","));

/** Do two values of a field mean the same? 2e-4 and 0.0002 do. */
export const sameValue = (a, b) => (typeof a === "number" && typeof b === "number" ? a === b : plain(a) === plain(b));

/** A value as a person would type it. */
export function typed(value) {
  if (Array.isArray(value)) return value.join(", ");
  return value === null || value === undefined ? "" : String(value);
}
