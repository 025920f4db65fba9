//! Permission matrix.
