//! Asking the caches for what will be read.
#![allow(unsafe_code)]

/// Asks the first-level cache for the line in which an element begins; any index will do.
#[inline]
pub(crate) fn prefetch<T>(of: &[T], index: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch of any address is sound, and the pointer is not dereferenced.
        unsafe { _mm_prefetch(of.as_ptr().wrapping_add(index).cast(), _MM_HINT_T0) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (of, index);
}
