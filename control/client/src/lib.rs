//! What every user of the API needs: typed client, informer, work queue, election.
