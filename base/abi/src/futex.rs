//! `futex`: operations and the bits of a robust or priority-inheriting lock word.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

// Operations.
constants! { u32:
    FUTEX_WAIT = 0, FUTEX_WAKE = 1, FUTEX_FD = 2, FUTEX_REQUEUE = 3, FUTEX_CMP_REQUEUE = 4, FUTEX_WAKE_OP = 5,
    FUTEX_LOCK_PI = 6, FUTEX_UNLOCK_PI = 7, FUTEX_TRYLOCK_PI = 8, FUTEX_WAIT_BITSET = 9,
    FUTEX_WAKE_BITSET = 10, FUTEX_WAIT_REQUEUE_PI = 11, FUTEX_CMP_REQUEUE_PI = 12, FUTEX_LOCK_PI2 = 13,
}

// Flags beside the operation, bits of a lock word, and the mask of all waiters.
constants! { u32:
    FUTEX_PRIVATE_FLAG = 0x80, FUTEX_CLOCK_REALTIME = 0x100, FUTEX_CMD_MASK = 0xfffffe7f,
    FUTEX_WAITERS = 0x80000000, FUTEX_OWNER_DIED = 0x40000000, FUTEX_TID_MASK = 0x3fffffff,
    FUTEX_BITSET_MATCH_ANY = 0xffffffff,
}

// Flags of a word in the second interface, and how many words one wait is for.
constants! { u32:
    FUTEX2_SIZE_U32 = 0x02, FUTEX2_SIZE_MASK = 0x03, FUTEX2_PRIVATE = 0x80, FUTEX_WAITV_MAX = 128,
}

// `FUTEX_WAKE_OP` operations and comparisons.
constants! { u32:
    FUTEX_OP_SET = 0, FUTEX_OP_ADD = 1, FUTEX_OP_OR = 2, FUTEX_OP_ANDN = 3, FUTEX_OP_XOR = 4,
    FUTEX_OP_CMP_EQ = 0, FUTEX_OP_CMP_NE = 1, FUTEX_OP_CMP_LT = 2, FUTEX_OP_CMP_LE = 3, FUTEX_OP_CMP_GT = 4,
    FUTEX_OP_CMP_GE = 5,
}

/// Linux `struct futex_waitv`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct FutexWaitv {
    /// Expected value.
    pub val: u64,
    /// Address of the word.
    pub uaddr: u64,
    /// Size and scope.
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
}
layout!(FutexWaitv, 24, uaddr @ 8, flags @ 16);
