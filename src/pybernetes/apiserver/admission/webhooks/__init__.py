"""Admission webhooks: MutatingAdmissionWebhook and ValidatingAdmissionWebhook. Specified by "Dynamic Admission Control"."""
