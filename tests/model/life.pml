/* The life of one task: two wakers, two workers that may take it, whoever joins, aborts or leaves it, and somebody who finds it in a
 * table, without a reference, as a sender finds who receives.
 *
 * Shown: the task is in one queue at most, and only as its word says (S2); one worker at a time touches the future (S1), one
 * side the joiner's cell (S4); nobody touches the task after it is freed, which happens once (S3). When all is quiet, a
 * task whose wakers have all called is complete, a joiner that waits has an unfinished task, and a task without
 * references is freed. Who finds it in the table finds it alive, since whoever ends it strikes it there first, under the table's lock.
 *
 * The operations on the word are those of word.table. A queue is a place that any worker takes from (idle.pml shows why
 * it may be seen so). The wakers' references are there from the start.
 *
 * mutant FORGETS_A_WAKE_WHILE_RUNNING  a wake that finds the task running leaves no trace
 * mutant QUEUES_WHAT_RUNS              it has the running task queued
 * mutant FORGETS_AT_THE_END_OF_A_POLL  the end of a poll does not look for wakes
 * mutant FORGETS_ORPHANS               the end of a poll does not look for references
 * mutant FORGETS_WHAT_NOBODY_CAN_WAKE  the last reference of a waiting task goes, and nobody cancels it
 * mutant LEAVES_WITHOUT_A_CALL         a completer does not look for the joiner
 * mutant LETS_GO_TOO_EARLY             it gives up the task before it has called the joiner
 * mutant FREES_WHAT_RUNS               the last reference frees the task whatever it does
 * mutant GIVES_THE_CELL_AFTER_THE_END  a joiner does not notice that the task ended while it filled the cell
 * mutant WAKES_BEFORE_THE_CHANGE       a waker calls first and changes afterwards
 * mutant TOUCHES_AFTER_THE_LAST_REF    a waker looks at the word once more after its reference is gone
 * mutant TAKES_THE_OUTPUT_TWICE        a joiner that has the output drops it as well
 * mutant REFERS_TO_WHAT_IS_GIVEN_UP    who finds the task takes a reference though the last has gone and nobody runs it
 * mutant STRIKES_AFTER_THE_END         the task is struck from the table after its end has been told
 * mutant REFERS_WITHOUT_THE_LOCK       who has found it gives the table's lock back before it takes the reference
 */
#define TASKS 1
#include "word.pml"

#define WAKERS 2
#define NOBODY 255
#define IN_PLACE 1
#define GONE 2

bool changed[WAKERS]   /* what the task waits for: both */
byte calls             /* wakers that have called */
byte queued            /* queues that the task is in */
byte owner = NOBODY    /* who touches the future */
bool has_future = true
byte output
bool cell              /* there is a waker in the joiner's cell */
byte cell_owner = NOBODY
bool joiner_called
bool joiner_waits
bool named = true      /* it stands in the table */
bool table             /* the table's lock is held */

inline push() {
    atomic {
        assert(queued == 0 && !freed[0]);
        assert((bits[0] & (S | R | C)) == S);
        queued = 1
    }
}

inline release_memory() {
    atomic {
        assert(!freed[0] && refs[0] == 0 && !has_future && output != IN_PLACE && !cell && queued == 0);
        assert(owner == NOBODY && cell_owner == NOBODY);
        freed[0] = true
    }
}

/* cell.rs drop_ref */
inline drop_reference(reply) {
    word_drop_ref(0, reply);
    if
    :: reply == FREE -> release_memory()
    :: reply == ENQUEUE ->
        push();
        word_drop_ref(0, reply);
        if
        :: reply == FREE -> release_memory()
        :: else -> assert(reply == NOTHING)
        fi
    :: else
    fi
}

inline own_future() {
    atomic { assert(owner == NOBODY && has_future && !freed[0]); owner = _pid }
}

/* cell.rs tell_of_end */
inline strike() {
    atomic { !table -> table = true };
    named = false;
    table = false
}

inline own_cell() {
    atomic { assert(cell_owner == NOBODY && !freed[0]); cell_owner = _pid }
}

inline drop_future() {
    has_future = false;
#ifndef STRIKES_AFTER_THE_END
    strike();
#endif
    owner = NOBODY
}

/* run.rs publish_end, and what cell.rs does in `ended` */
inline after_the_end(reply) {
    if
    :: reply == DROP_OUTPUT -> atomic { assert(output == IN_PLACE && !freed[0]); output = GONE }
    :: reply == WAKE_JOINER ->
        own_cell();
        atomic { assert(cell); cell = false; cell_owner = NOBODY };
        joiner_called = true
    :: else
    fi;
    word_release(0, reply);
    if
    :: reply == FREE -> release_memory()
    :: else
    fi
#ifdef STRIKES_AFTER_THE_END
    ;
    strike()
#endif
}

active [2] proctype worker() {
    byte answer;
    bool first, second;
end:
    do
    :: atomic { queued > 0 -> queued = queued - 1 };
        assert((bits[0] & (S | R | C)) == S);
        word_start(0, answer);
        own_future();
        if
        :: answer == CANCEL ->
            drop_future();
            word_cancelled(0, answer);
            after_the_end(answer)
        :: else ->
            first = changed[0];
            second = changed[1];
            if
            :: first && second ->
                output = IN_PLACE;
                drop_future();
                word_finish(0, answer);
                after_the_end(answer)
            :: else ->
                owner = NOBODY;
                word_pause(0, answer);
                if
                :: answer == REQUEUE -> push()
                :: answer == ORPHAN ->
                    own_future();
                    drop_future();
                    release_memory()
                :: else
                fi
            fi;
            first = false;
            second = false
        fi;
        answer = 0
    od
}

proctype waker(byte me) {
    byte answer;
    if
    :: me == 1 ->       /* a clone comes and goes */
        word_add_ref(0, answer);
        drop_reference(answer)
    :: else
    fi;
    if
    :: true ->
#ifdef WAKES_BEFORE_THE_CHANGE
        word_wake(0, answer);
        if
        :: answer == ENQUEUE -> push()
        :: else
        fi;
        changed[me] = true;
#else
        changed[me] = true;
        word_wake(0, answer);
        if
        :: answer == ENQUEUE -> push()
        :: else
        fi;
#endif
        calls = calls + 1
    :: me == 0      /* it goes without a call */
    fi;
    drop_reference(answer);
#ifdef TOUCHES_AFTER_THE_LAST_REF
    word_ending(0, answer);
#endif
    answer = 0
}

/* waker.rs try_clone */
proctype finder() {
    byte answer;
    atomic { !table -> table = true };
    if
    :: named ->
#ifdef REFERS_WITHOUT_THE_LOCK
        table = false;
#endif
        word_try_ref(0, answer);
        table = false;
        if
        :: answer == ADDED ->
            word_wake(0, answer);
            if
            :: answer == ENQUEUE -> push()
            :: else
            fi;
            drop_reference(answer)
        :: else
        fi
    :: else -> table = false
    fi;
    answer = 0
}

proctype joiner() {
    byte answer;
    bool has_output;
    if
    :: true ->
        word_abort(0, answer);
        if
        :: answer == ENQUEUE -> push()
        :: else
        fi
    :: true
    fi;
    if
    :: goto leaves
    :: true
    fi;
look:
    word_ending(0, answer);
    if
    :: answer != NONE -> goto ended
    :: else
    fi;
    word_take_cell(0, answer);
    if
    :: answer == ENDED -> goto ended
    :: else
    fi;
    own_cell();
    atomic { cell = true; cell_owner = NOBODY };
    word_give_cell(0, answer);
    if
    :: answer == ENDED ->
        own_cell();
        atomic { cell = false; cell_owner = NOBODY };
        goto ended
    :: else
    fi;
    joiner_waits = true;
end_waits:
    atomic { joiner_called -> joiner_called = false; joiner_waits = false };
    goto look;
ended:
    word_ending(0, answer);
    assert(answer != NONE);
    if
    :: answer == OUTPUT ->
        atomic { assert(output == IN_PLACE); output = GONE };
        has_output = true
    :: else
    fi;
leaves:
    word_leave(0, answer);
    if
    :: answer == RUNNING ->
        own_cell();
        atomic { cell = false; cell_owner = NOBODY }
    :: else ->
        word_ending(0, answer);
        if
#ifdef TAKES_THE_OUTPUT_TWICE
        :: answer == OUTPUT ->
#else
        :: answer == OUTPUT && !has_output ->
#endif
            atomic { assert(output == IN_PLACE); output = GONE }
        :: else
        fi
    fi;
    drop_reference(answer)
}

init {
    atomic {
        bits[0] = S | I;
        refs[0] = 1 + WAKERS;
        queued = 1;
        run waker(0);
        run waker(1);
        run finder();
        run joiner()
    };
    timeout ->
    assert(queued == 0 && owner == NOBODY);
    assert(calls < WAKERS || (bits[0] & C));
    assert(!joiner_waits || !(bits[0] & C));
    assert(refs[0] > 0 || freed[0])
}
