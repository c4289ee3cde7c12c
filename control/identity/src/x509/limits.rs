//! Every bound of a certificate request, with its reason.

/// `spec.request`, PEM: RSA with 16,384 bits and a hundred names of 253 bytes take half of it.
pub const REQUEST_PEM: usize = 64 << 10;

/// Alternative names of one request: a node has less than twenty.
pub(super) const NAMES: usize = 100;

/// Attributes of one subject: a user of more groups than that is a mistake.
pub(super) const SUBJECT_ATTRIBUTES: usize = 64;

/// One attribute of a subject; RFC 5280, appendix A, says 64 for most, groups are longer in practice.
pub(super) const SUBJECT_VALUE: usize = 256;
