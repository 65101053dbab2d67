/* What a receiver takes from a slot, while another thread ends the right of the slot's sender and grants the slot to the next, and while the first sender,
 * who still has its word page, goes on sending (note 0008, section 1; `abi::uintr`).
 *
 * Shown: what the first sends behind the end of its right reaches no handler; what the second sends is handled behind its sending.
 *
 * One vector, which both may raise. `page` is the word page that the receiver's mapping leads to. Granting takes the old page back before it shows anything. The steps are one
 * shared access each; memory is sequentially consistent.
 *
 * mutant DOES_NOT_LOOK_FOR_A_CHANGE   what is granted is read, then the word is emptied
 * mutant SWAPS_FIRST                  the word is emptied, then what is granted is read, and thrown away if it has changed
 * mutant LOOKS_AT_VECTORS_ONLY        the change is not counted: it compares the vectors before and behind
 * mutant GRANTS_BEFORE_TAKING_BACK    the slot is shown as the second's while the receiver still has the first's page
 * mutant COUNTS_ONCE                 a change is counted before the vectors only
 * mutant TELLS_OF_A_CHANGE_BEHIND     when a right ends, the vectors go first, and the call returns before the change is counted
 */
bool word[2]            /* of the first sender, of the second */
bit page                /* whose page the receiver has */
bool granted = true
byte change
bool ended              /* the end of the first's right has returned */
bool late               /* the first's word holds something that was sent behind that */
bool rung               /* the receiver is told of the slot */
bool sent               /* the second has sent, and it is to be handled */
bool over

/* A handler runs. `stale`: for something that should not have been taken. */
inline handle(stale) {
    atomic { assert(!stale); sent = false }
}

active proctype Receiver() {
    byte before;
    bool mask, had, stale, at;
    do
    :: atomic { rung -> rung = false };
#if defined(DOES_NOT_LOOK_FOR_A_CHANGE)
       mask = granted;
       atomic { at = page; had = word[at]; stale = (at == 0 && late); word[at] = false };
       if :: had && mask -> handle(stale) :: else fi
#elif defined(SWAPS_FIRST)
       before = change;
       atomic { at = page; had = word[at]; stale = (at == 0 && late); word[at] = false };
       mask = granted;
       if :: had && mask && change == before -> handle(stale) :: else fi
#else
       do
       :: before = change;
#ifdef LOOKS_AT_VECTORS_ONLY
          before = granted;
#endif
          mask = granted;
          atomic { at = page; had = word[at]; stale = (at == 0 && late) };
#ifdef LOOKS_AT_VECTORS_ONLY
          if :: granted == before -> break :: else fi
#else
          if :: change == before -> break :: else fi
#endif
       od;
       if
       :: had && mask ->
          word[page] = false;
          handle(stale)
       :: else
       fi
#endif
    :: over && !rung -> break
    od;
    assert(!sent)
}

active proctype Granter() {
#ifdef TELLS_OF_A_CHANGE_BEHIND
    granted = false;
    ended = true;
    change++;
#else
    change++;
    granted = false;
#ifndef COUNTS_ONCE
    change++;
#endif
    ended = true;
#endif
#ifndef GRANTS_BEFORE_TAKING_BACK
    page = 1;
#endif
    change++;
    granted = true;
#ifndef COUNTS_ONCE
    change++;
#endif
#ifdef GRANTS_BEFORE_TAKING_BACK
    page = 1;
#endif
    atomic { word[1] = true; sent = true };
    rung = true;
    over = true
}

/* Who has the first word page, with a doorbell of its own on which it can ring for any slot. */
active proctype First() {
    byte count;
    do
    :: count < 3 ->
       atomic { word[0] = true; late = ended };
       rung = true;
       count++
    :: break
    od
}
