//! `select!`: waits for the first of several futures.

/// Waits for the first of two to five futures and goes on with what belongs to it; the others are dropped after that. They are
/// polled in the order in which they stand.
///
/// ```ignore
/// rt::select! {
///     message = receiver.recv() => handle(message),
///     () = sleep(second) => return,
/// }
/// ```
#[macro_export]
macro_rules! select {
    ($a:pat = $x:expr => $p:expr, $b:pat = $y:expr => $q:expr $(,)?) => {
        match $crate::select($crate::pinned!($x), $crate::pinned!($y)).await {
            $crate::Either::Left(($a, _)) => $p,
            $crate::Either::Right(($b, _)) => $q,
        }
    };
    ($a:pat = $x:expr => $p:expr, $b:pat = $y:expr => $q:expr, $c:pat = $z:expr => $r:expr $(,)?) => {
        match $crate::select($crate::pinned!($x), $crate::select($crate::pinned!($y), $crate::pinned!($z))).await {
            $crate::Either::Left(($a, _)) => $p,
            $crate::Either::Right(($crate::Either::Left(($b, _)), _)) => $q,
            $crate::Either::Right(($crate::Either::Right(($c, _)), _)) => $r,
        }
    };
    ($a:pat = $x:expr => $p:expr, $b:pat = $y:expr => $q:expr, $c:pat = $z:expr => $r:expr, $d:pat = $w:expr => $s:expr
        $(,)?) => {
        match $crate::select(
            $crate::select($crate::pinned!($x), $crate::pinned!($y)),
            $crate::select($crate::pinned!($z), $crate::pinned!($w)),
        )
        .await
        {
            $crate::Either::Left(($crate::Either::Left(($a, _)), _)) => $p,
            $crate::Either::Left(($crate::Either::Right(($b, _)), _)) => $q,
            $crate::Either::Right(($crate::Either::Left(($c, _)), _)) => $r,
            $crate::Either::Right(($crate::Either::Right(($d, _)), _)) => $s,
        }
    };
}

/// Pins a future where it stands.
#[doc(hidden)]
#[macro_export]
macro_rules! pinned {
    ($future:expr) => {
        core::pin::pin!($future)
    };
}
